//! Mounts by descriptor: a tree is made or copied detached, and put in place at the end (the mount
//! API of Linux 5.2, fsopen(2), open_tree(2), move_mount(2)). No path is parsed by the kernel, so
//! any byte may be in one, and what the kernel has to say about a failure is read from its log.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::{chdir, fchdir, geteuid, pivot_root},
};
use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, open, openat2, statx},
    mount::{
        FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

pub use rustix::mount::MountAttrFlags;

use crate::{
    error::{Doing, Remedy, Result},
    link::Propagation,
    sys,
};

/// Who may mount something.
pub const AS_ROOT: &str = "run as root, or behind ns-enter user,mnt --";

/// What to do about the kernel's refusal to make `namespaces` that mounts are to be in: behind others, if a user
/// namespace was not among them, which it may be that is refused.
pub fn advice(namespaces: CloneFlags, errno: Errno, behind: &str) -> Option<String> {
    let who = if geteuid().is_root() { "CAP_SYS_ADMIN is missing; run" } else { "run as root, or" };
    let may_help = errno == Errno::EPERM && !namespaces.contains(CloneFlags::CLONE_NEWUSER);
    may_help.then(|| format!("{who} behind ns-enter {behind} --"))
}

/// The attributes that every distribution mounts filesystems of the kernel's own with.
pub const QUIET: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

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
            .doing(|| format!("new {kind} filesystem"))
            .remedy(Errno::EPERM, AS_ROOT)
            .remedy(Errno::ENODEV, "this kernel has none; is its module loaded?")?;
        Ok(Self { kind, context: context.into() })
    }

    /// Of a tmpfs, how many bytes its files may have, rounded up to whole pages, and one inode for each page: the
    /// kernel's own proportion (tmpfs(5), nr_inodes), which it does not keep if only the size is given.
    pub fn of_size(self, bytes: u64) -> Result<Self> {
        // Of the kernel, 0 is no limit. Some inodes are the directories that an overlay makes.
        let inodes = bytes.div_ceil(4096).saturating_add(64);
        self.set("size", &bytes.max(1).to_string())?.set("nr_inodes", &inodes.to_string())
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

/// A new proc of this process's pid namespace, detached.
pub fn new_proc() -> Result<OwnedFd> {
    Filesystem::new("proc")?.mount(QUIET)
}

/// A copy of the mount at `path`, detached: with all mounts below it, or of this one alone.
pub fn copy_tree(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(CWD, path, flags).doing(|| format!("bind {}", path.display())).remedy(Errno::EPERM, AS_ROOT)
}

/// Opens, to be used as a place only, a path that had no symbolic links when it was looked at. If it has one now, that is
/// an error, so that nobody puts another directory in its place meanwhile (openat2(2), RESOLVE_NO_SYMLINKS, Linux 5.6).
pub fn open_real(path: &Path) -> Result<OwnedFd> {
    let place = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::NO_SYMLINKS);
    place
        .doing(|| format!("open {}", path.display()))
        .remedy(Errno::ELOOP, "a link has taken its place; try it again")
}

/// A copy of what is `name` below the open directory `dir`, or of `dir` itself, which may be a file then, if
/// the name is empty. It must be mounted in this mount namespace.
pub fn copy_below(dir: impl AsFd, name: &str, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_EMPTY_PATH, name.is_empty());
    open_tree(dir, name, flags)
}

/// Puts a detached mount on the directory or file `place`; `shown` is its name for an error.
pub fn attach(mount: impl AsFd, place: impl AsFd, shown: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount.as_fd(), "", place.as_fd(), "", flags).doing(|| format!("mount on {}", shown.display()))
}

/// Puts a detached mount on what is `name` below the open directory `dir`. No symbolic link is followed at
/// the end of the name.
pub fn attach_below(mount: impl AsFd, dir: impl AsFd, name: impl AsRef<Path>) -> rustix::io::Result<()> {
    move_mount(mount.as_fd(), "", dir.as_fd(), name.as_ref(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

/// Makes a mount read-only, and all below it if asked (mount_setattr(2)).
pub fn make_read_only(mount: impl AsFd, recursive: bool) -> Result<()> {
    let read_only = Attributes { set: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Attributes::default() };
    read_only.apply(mount, recursive).doing(|| "make a mount read-only".into())
}

/// What mount_setattr(2) changes of a mount. What is not named stays as it is.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// Attributes that it gets.
    pub set: MountAttrFlags,
    /// Attributes that it loses.
    pub clear: MountAttrFlags,
    /// How it hangs together with its copies.
    pub propagation: Propagation,
    /// A user namespace whose map says which owner is shown for which; only for a mount that was
    /// attached nowhere yet.
    pub id_map: Option<BorrowedFd<'a>>,
}

impl Default for Attributes<'_> {
    fn default() -> Self {
        let nothing = MountAttrFlags::empty();
        Self { set: nothing, clear: nothing, propagation: Propagation::Unchanged, id_map: None }
    }
}

impl Attributes<'_> {
    /// Changes the mount, and all below it if asked: all of them or, if that fails, none.
    pub fn apply(&self, mount: impl AsFd, recursive: bool) -> nix::Result<()> {
        let propagation = match self.propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Unchanged => 0,
        };
        let mut attr = libc::mount_attr {
            attr_set: self.set.bits().into(),
            attr_clr: self.clear.bits().into(),
            propagation,
            userns_fd: 0,
        };
        if let Some(namespace) = &self.id_map {
            attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
            attr.userns_fd = namespace.as_raw_fd().cast_unsigned().into();
        }
        sys::mount_setattr(mount.as_fd(), recursive, &attr)
    }
}

/// Makes a mount that is attached somewhere the root of this mount namespace, goes to it, and unmounts all that
/// is not below it (pivot_root(2)). So many mounts are `on_root` by now, on top of the old root.
pub fn pivot(root: impl AsFd, on_root: u32) -> Result<()> {
    fchdir(root.as_fd()).doing(|| "go to the new root".into())?;
    // With both the same, the old root ends up on top of the new one, where the working
    // directory still finds it (pivot_root(2), "pivot_root(\".\", \".\")").
    pivot_root(".", ".")
        .doing(|| "pivot_root".into())
        .remedy(Errno::EINVAL, "the present root cannot be left: is it the initial ramfs?")?;
    for _ in 0..=on_root {
        umount2(".", MntFlags::MNT_DETACH).doing(|| "unmount the old root".into())?;
    }
    chdir("/").doing(|| "go to the new /".into())
}

/// A mount namespace of this process's own, with all mounts private.
pub fn leave_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "new mnt namespace".into()).remedy(Errno::EPERM, AS_ROOT)?;
    propagate(Propagation::Private)
}

/// How new mounts, and those made outside, go over the border of a new mount namespace.
pub(crate) fn propagate(propagation: Propagation) -> Result<()> {
    let (flag, name) = match propagation {
        Propagation::Private => (MsFlags::MS_PRIVATE, "private"),
        Propagation::Slave => (MsFlags::MS_SLAVE, "slave"),
        Propagation::Shared => (MsFlags::MS_SHARED, "shared"),
        Propagation::Unchanged => return Ok(()),
    };
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | flag, nothing).doing(|| format!("make all mounts {name}"))
}

/// Opens a directory to be used as a place only (open(2), O_PATH).
pub fn open_dir(path: &Path) -> rustix::io::Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Whether the open directory or file is the root of a mount (statx(2), STATX_ATTR_MOUNT_ROOT, Linux 5.8).
pub fn is_mount_root(dir: impl AsFd) -> bool {
    const MOUNT_ROOT: u64 = 0x2000;
    let found = statx(dir.as_fd(), "", AtFlags::EMPTY_PATH, StatxFlags::empty());
    found.is_ok_and(|found| found.stx_attributes.bits() & MOUNT_ROOT != 0)
}
