//! Files of /etc that only the box sees so: in memory, bound over those of the host in the box's mount namespace
//! (mount_namespaces(7)).

use std::{
    fs::{self, File, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use chain::{
    Doing, Remedy, Result,
    mount::{AS_ROOT, Filesystem, QUIET, attach, copy_below, make_read_only, open_dir},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};
use rustix::fs::{Mode, OFlags, open, openat};

/// What programs resolve names by, before they ask anybody (hosts(5)).
pub(crate) const HOSTS: &str = "/etc/hosts";

/// Whom they ask (resolv.conf(5)).
pub(crate) const RESOLV: &str = "/etc/resolv.conf";

const DIR: &str = "/etc";
const FILE: &str = "file";

/// By how much such a file may grow: a line of the largest LAN for each of its addresses.
const ROOM: u64 = 16 << 20;

/// What the caller has there.
pub(crate) fn read(path: &str) -> Result<Vec<u8>> {
    fs::read(path).doing(|| format!("read {path}"))
}

/// Shows this in place of the file at `path`, read-only. Whoever has what this returns can change it, and the change
/// is seen at once.
pub(crate) fn show(path: &str, text: &[u8]) -> Result<File> {
    let doing = || format!("make the box's {path}");
    // Looked up before anything covers it. Where it is a link, what it leads to is covered.
    let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).doing(doing)?;
    let size = u64::try_from(text.len()).unwrap_or(u64::MAX).saturating_add(ROOM);
    let memory = Filesystem::new("tmpfs")?.of_size(size)?.mount(QUIET)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(&memory, FILE, flags, Mode::from(0o600)).doing(doing)?);
    file.write_all(text).doing(doing)?;
    file.set_permissions(Permissions::from_mode(0o644)).doing(doing)?;
    // Until Linux 6.15 only what is in a mount namespace can be copied, so it is there for a moment.
    let dir = open_dir(Path::new(DIR)).doing(doing)?;
    attach(&memory, dir, Path::new(DIR)).remedy(Errno::EPERM, AS_ROOT)?;
    let copy = copy_below(&memory, FILE, false).doing(doing);
    umount2(DIR, MntFlags::MNT_DETACH).doing(doing)?;
    let copy = copy?;
    make_read_only(&copy, false)?;
    attach(copy, place, Path::new(path))?;
    Ok(file)
}
