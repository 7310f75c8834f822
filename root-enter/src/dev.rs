//! A minimal /dev: what programs take for granted, and no device of the machine.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use chain::{
    Doing, Error, Result,
    mount::{Attributes, Filesystem, MountAttrFlags, attach, attach_below, copy_tree},
    with_exact_modes,
};
use nix::errno::Errno;
use rustix::{
    fs::{FileType, Mode, fstat, makedev, mkdirat, mknodat, symlinkat},
    io,
};

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

/// What shared memory may take, where the kernel's own bound is half of the machine's: as much as container engines
/// give.
const SHARED: u64 = 64 << 20;

/// Mounts it, with its own pseudo-terminals (/dev/pts) and shared memory (/dev/shm). Each device is a mount of its
/// own, on which it works; on that of the directory none does, so it is of no use to make another there.
pub(crate) fn mount(root: &NewRoot, place: &Path) -> Result<()> {
    let memory = root.memory()?;
    let (files, name) = memory.dir()?;
    let are_made = with_exact_modes(|| fill(files.as_fd()))?;
    let dev = memory.copy(&name)?;
    let no_devices = Attributes { set: MountAttrFlags::MOUNT_ATTR_NODEV, ..Attributes::default() };
    no_devices.apply(&dev, false).doing(|| "mount /dev".into())?;
    attach(&dev, root.dir(place)?, place)?;
    for (device, major, minor) in DEVICES {
        let copy = if are_made {
            memory.copy(&format!("{name}/{device}"))?
        } else {
            of_host(device, makedev(major, minor))?
        };
        attach_below(copy, &dev, device).doing(|| format!("mount /dev/{device}"))?;
    }

    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = || Filesystem::new("devpts")?.set("mode", "620")?.set("ptmxmode", "666");
    let pts = match pts()?.set("gid", TTY_GROUP).and_then(|pts| pts.mount(quiet)) {
        // The user namespace has no such group.
        Err(error) if error.errno() == Some(Errno::EINVAL) => pts()?.mount(quiet)?,
        pts => pts?,
    };
    attach_below(pts, &dev, "pts").doing(|| "mount /dev/pts".into())?;
    let shm = Filesystem::new("tmpfs")?.of_size(SHARED)?.set("mode", "1777")?;
    let shm = shm.mount(quiet | MountAttrFlags::MOUNT_ATTR_NODEV)?;
    attach_below(shm, &dev, "shm").doing(|| "mount /dev/shm".into())
}

/// The group that may write to terminals: 5 on every distribution (Debian's base-passwd).
const TTY_GROUP: &str = "5";

/// Whether the devices could be made. In a user namespace they cannot, and there are empty files, on which those of
/// the host are mounted.
fn fill(dev: BorrowedFd) -> Result<bool> {
    let node = |name, kind, device| mknodat(dev, name, kind, Mode::from(0o666), device);
    let mut are_made = true;
    for (name, major, minor) in DEVICES {
        let mut made = node(name, FileType::CharacterDevice, makedev(major, minor));
        if made == Err(io::Errno::PERM) {
            are_made = false;
            made = node(name, FileType::RegularFile, 0);
        }
        made.doing(|| format!("make /dev/{name}"))?;
    }
    for (name, to) in LINKS {
        symlinkat(to, dev, name).doing(|| format!("make /dev/{name}"))?;
    }
    for name in ["pts", "shm"] {
        mkdirat(dev, name, Mode::from(0o755)).doing(|| format!("make /dev/{name}"))?;
    }
    Ok(are_made)
}

/// A mount of the host's device of this name, which must be the one of this number.
fn of_host(name: &str, number: u64) -> Result<OwnedFd> {
    let doing = || format!("mount the host's /dev/{name}");
    let copy = copy_tree(&Path::new("/dev").join(name), false)?;
    let found = fstat(&copy).doing(doing)?;
    if !FileType::from_raw_mode(found.st_mode).is_char_device() || found.st_rdev != number {
        return Err(Error::new(doing(), "it is another file").hint("make no /dev with --no-dev"));
    }
    Ok(copy)
}
