//! A minimal /dev: what programs take for granted, and no device of the machine.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use chain::{
    Doing, Remedy, Result,
    mount::{Filesystem, MountAttrFlags, attach},
};
use nix::{
    errno::Errno,
    sys::stat::{Mode as Umask, umask},
};
use rustix::fs::{FileType, Mode, makedev, mkdirat, mknodat, symlinkat};

use crate::root::NewRoot;

/// Character devices and their numbers (Documentation/admin-guide/devices.txt of the kernel).
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

/// Links and where they lead. A pseudo-terminal is opened through the box's own devpts.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Mounts it, with its own pseudo-terminals (/dev/pts) and shared memory (/dev/shm).
pub(crate) fn mount(root: &NewRoot) -> Result<()> {
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = Filesystem::new("tmpfs")?.set("mode", "755")?.set("size", "64k")?.mount(quiet)?;
    // Modes are to be as they are written here.
    let before = umask(Umask::empty());
    let filled = fill(dev.as_fd());
    umask(before);
    filled?;
    attach(dev, root.dir(Path::new("/dev"))?, Path::new("/dev"))?;

    let pts = Filesystem::new("devpts")?.set("mode", "620")?.set("ptmxmode", "666")?.set("gid", TTY_GROUP)?;
    place(root, pts.mount(quiet)?.as_fd(), "/dev/pts")?;
    let shm = Filesystem::new("tmpfs")?.set("mode", "1777")?;
    place(root, shm.mount(quiet | MountAttrFlags::MOUNT_ATTR_NODEV)?.as_fd(), "/dev/shm")
}

/// The group that may write to terminals: 5 on every distribution (Debian's base-passwd).
const TTY_GROUP: &str = "5";

fn place(root: &NewRoot, mount: BorrowedFd, path: &str) -> Result<()> {
    attach(mount, root.dir(Path::new(path))?, Path::new(path))
}

fn fill(dev: BorrowedFd) -> Result<()> {
    for (name, major, minor) in DEVICES {
        mknodat(dev, name, FileType::CharacterDevice, Mode::from(0o666), makedev(major, minor))
            .doing(|| format!("make /dev/{name}"))
            .remedy(Errno::EPERM, "run as root")?;
    }
    for (name, to) in LINKS {
        symlinkat(to, dev, name).doing(|| format!("make /dev/{name}"))?;
    }
    for name in ["pts", "shm"] {
        mkdirat(dev, name, Mode::from(0o755)).doing(|| format!("make /dev/{name}"))?;
    }
    Ok(())
}
