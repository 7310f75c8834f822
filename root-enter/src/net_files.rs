//! What programs read to use a network: the host's resolv.conf and hosts, and the present host name.
//!
//! They are copies, so it does not matter where a link at their place on the host leads; and they are
//! mounted on what is at their place in the new root, be it a link.

use std::{fs, io::ErrorKind, os::unix::ffi::OsStrExt, path::Path};

use chain::{Doing, Result, mount::attach};
use nix::unistd::gethostname;

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
    for (path, content) in COPIED.iter().zip(copied).chain([(&HOSTNAME, &hostname)]) {
        let place = Path::new(path);
        let file = root.memory()?.file(content, 0o644, true, place)?;
        attach(file, root.file_or_link(place)?, place)?;
    }
    Ok(())
}
