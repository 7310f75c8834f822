//! Mounts by descriptor: a tree is made or copied detached, and put in place at the end (the mount
//! API of Linux 5.2, fsopen(2), open_tree(2), move_mount(2)). No path is parsed by the kernel, so
//! any byte may be in one, and what the kernel has to say about a failure is read from its log.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::{errno::Errno, libc};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, open, statx},
    mount::{
        FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

pub use rustix::mount::MountAttrFlags;

use crate::{
    error::{Doing, Remedy, Result},
    sys,
};

/// A filesystem that is being configured (fsopen(2)).
#[derive(Debug)]
pub struct Filesystem {
    kind: &'static str,
    context: File,
}

impl Filesystem {
    /// Begins a new filesystem of this kind, such as `tmpfs`. Fails with ENODEV if the kernel has none.
    pub fn new(kind: &'static str) -> Result<Self> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .doing(|| format!("make a {kind} filesystem"))
            .remedy(Errno::EPERM, "run as root")
            .remedy(Errno::ENODEV, "this kernel has none; is its module loaded?")?;
        Ok(Self { kind, context: context.into() })
    }

    /// Sets an option that has a value. Values are at most 255 bytes long (fsconfig(2)).
    pub fn set(self, key: &str, value: &str) -> Result<Self> {
        let done = fsconfig_set_string(self.context.as_fd(), key, value);
        self.explained(done.doing(|| format!("set {key}={value} on {}", self.kind)))?;
        Ok(self)
    }

    /// Sets an option that has no value.
    pub fn flag(self, key: &str) -> Result<Self> {
        let done = fsconfig_set_flag(self.context.as_fd(), key);
        self.explained(done.doing(|| format!("set {key} on {}", self.kind)))?;
        Ok(self)
    }

    /// Sets an option to an open file or directory, whatever its name is.
    pub fn set_fd(self, key: &str, value: impl AsFd) -> Result<Self> {
        let done = fsconfig_set_fd(self.context.as_fd(), key, value.as_fd());
        self.explained(done.doing(|| format!("set {key} on {}", self.kind)))?;
        Ok(self)
    }

    /// Makes it, as a mount that is attached nowhere yet.
    pub fn mount(self, attributes: MountAttrFlags) -> Result<OwnedFd> {
        let done = fsconfig_create(self.context.as_fd());
        self.explained(done.doing(|| format!("mount {}", self.kind)))?;
        let done = fsmount(self.context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes);
        self.explained(done.doing(|| format!("mount {}", self.kind)))
    }

    /// Adds the kernel's own words to an error: the messages that wait in the context's log.
    fn explained<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let mut words = Vec::new();
            let mut message = [0; 1024];
            while let Ok(length @ 1..) = (&self.context).read(&mut message) {
                let text = String::from_utf8_lossy(&message[..length]);
                // Each begins with its severity, as in `e overlay: …`.
                let text = text.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start();
                words.push(text.to_owned());
            }
            if words.is_empty() { error } else { error.words(words.join(", ")) }
        })
    }
}

/// A new proc of this process's pid namespace, detached, with the attributes that every distribution
/// mounts it with.
pub fn new_proc() -> Result<OwnedFd> {
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Filesystem::new("proc")?.mount(quiet)
}

/// A copy of the mount at `path`, detached: with all mounts below it, or of this one alone.
pub fn copy_tree(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags)
        .doing(|| format!("bind {}", path.display()))
        .remedy(Errno::EPERM, "run as root")
}

/// Puts a detached mount on the directory or file `place`; `shown` is its name for an error.
pub fn attach(mount: impl AsFd, place: impl AsFd, shown: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), "", place.as_fd(), "", flags).doing(|| format!("mount on {}", shown.display()))
}

/// Makes a mount read-only, and all below it if asked (mount_setattr(2)).
pub fn make_read_only(mount: impl AsFd, recursive: bool) -> Result<()> {
    sys::mount_setattr(mount.as_fd(), recursive, libc::MOUNT_ATTR_RDONLY, 0)
        .doing(|| "make a mount read-only".into())
}

/// Opens a directory to be used as a place only (open(2), O_PATH).
pub fn open_dir(path: &Path) -> rustix::io::Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether the open directory is the root of a mount (statx(2), STATX_ATTR_MOUNT_ROOT, Linux 5.8).
pub fn is_mount_root(dir: impl AsFd) -> bool {
    const MOUNT_ROOT: u64 = 0x2000;
    let found = statx(dir.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.bits() & MOUNT_ROOT != 0)
}
