//! What programs read to use a network: the host's resolv.conf and hosts, and the present host name.
//!
//! They are copies, so it does not matter where a link at their place on the host leads; and they are
//! mounted on what is at their place in the new root, be it a link. Only a file that is itself mounted there, as
//! net-link does, is mounted once more: who mounted it may change it.

use std::{
    fs,
    io::ErrorKind,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use chain::{
    Doing, Result,
    mount::{Attributes, MountAttrFlags, QUIET, attach, copy_below, is_mount_root},
};
use nix::unistd::gethostname;
use rustix::fs::{Mode, OFlags, open};

use crate::root::NewRoot;

/// The files whose text is the host's.
const COPIED: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];
const HOSTNAME: &str = "/etc/hostname";

/// The text of these files.
pub(crate) type Copied = [Vec<u8>; 2];

/// Reads them. To lack one means the same as that it is empty (resolv.conf(5), hosts(5)).
pub(crate) fn read() -> Result<Copied> {
    let read = |path| match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        done => done.doing(|| format!("--net-files: read {path}")),
    };
    let [resolv, hosts] = COPIED.map(read);
    Ok([resolv?, hosts?])
}

/// Shows them, and the host name as it is in this process's uts namespace.
pub(crate) fn show(copied: &Copied, root: &NewRoot) -> Result<()> {
    let name = gethostname().doing(|| "--net-files: get the host name".into())?;
    let hostname = [name.as_bytes(), b"\n"].concat();
    for (path, content) in COPIED.iter().zip(copied) {
        let place = Path::new(path);
        let file = match mounted(path)? {
            Some(file) => file,
            None => root.memory()?.file(content, 0o644, true, place)?,
        };
        attach(file, root.file_or_link(place)?, place)?;
    }
    let place = Path::new(HOSTNAME);
    let file = root.memory()?.file(&hostname, 0o644, true, place)?;
    attach(file, root.file_or_link(place)?, place)
}

/// What is mounted on this file, read-only, if something is. This is looked for late: a link before this one in the
/// same launch may have mounted it.
fn mounted(path: &str) -> Result<Option<OwnedFd>> {
    let doing = || format!("--net-files: bind {path}");
    let Ok(file) = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { return Ok(None) };
    if !is_mount_root(&file) {
        return Ok(None);
    }
    let copy = copy_below(&file, "", false).doing(doing)?;
    let set = QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY;
    Attributes { set, ..Attributes::default() }.apply(&copy, false).doing(doing)?;
    Ok(Some(copy))
}
