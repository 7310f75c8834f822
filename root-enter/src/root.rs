//! The new root, from a directory to `/`.

use std::{
    env,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use chain::{
    Doing, Error, Remedy, Result,
    mount::{Attributes, MountAttrFlags, attach, copy_below, is_mount_root, make_read_only, open_dir, pivot},
};
use nix::errno::Errno;
use rustix::{
    fs::{AtFlags, StatVfsMountFlags, StatxFlags, fstatvfs, statx},
    io,
};

use crate::memory::Memory;

const OTHERS: &str = "it must be of the mount namespace that the caller is in";

/// A directory that is a mount of its own, and so can become the root.
pub(crate) struct NewRoot {
    dir: OwnedFd,
    /// Where the copy is to be mounted, if it is one.
    over: Option<OwnedFd>,
    path: PathBuf,
    memory: Option<Memory>,
    /// The root becomes read-only when all is in place.
    closed: bool,
}

impl NewRoot {
    /// Finds the directory, and copies it, with all that is mounted below it, if it is not a mount.
    pub(crate) fn find(path: &Path) -> Result<Self> {
        let doing = || format!("root {}", path.display());
        // By its whole name: `.` would be what lies under a mount that was made on it since.
        let path = env::current_dir().doing(doing)?.join(path);
        let dir = open_dir(&path).doing(doing)?;
        let present = is_same(&dir, &open_dir(Path::new("/")).doing(doing)?).doing(doing)?;
        let (dir, over) = if is_mount_root(&dir) && !present {
            (dir, None)
        } else {
            // pivot_root(2) takes only mounts, and not the present root: that is copied on itself.
            let copy = copy_below(&dir, "", true).doing(doing).remedy(Errno::EINVAL, OTHERS)?;
            (copy, Some(dir))
        };
        Ok(Self { dir, over, path, memory: None, closed: false })
    }

    /// Mounts the copy where the directory is, in this mount namespace only, and files that are in memory.
    pub(crate) fn attach(&mut self) -> Result<()> {
        self.memory = Some(Memory::hidden()?);
        match self.over.take() {
            Some(place) => attach(&self.dir, place, &self.path),
            None => Ok(()),
        }
    }

    /// Gives attributes to the root and all that is mounted below it by now.
    pub(crate) fn set(&self, set: MountAttrFlags) -> Result<()> {
        let attributes = Attributes { set, ..Attributes::default() };
        let done = attributes.apply(&self.dir, true).doing(|| format!("root {}", self.path.display()));
        done.remedy(Errno::EINVAL, OTHERS)
    }

    /// Makes all that is mounted below the root by now read-only; the root itself when all is in place, so
    /// that mount points can be made in it.
    pub(crate) fn close(&mut self) -> Result<()> {
        let doing = || format!("make root {} read-only", self.path.display());
        let was = fstatvfs(&self.dir).doing(doing)?.f_flag.contains(StatVfsMountFlags::RDONLY);
        self.set(MountAttrFlags::MOUNT_ATTR_RDONLY)?;
        if !was {
            let writable = Attributes { clear: MountAttrFlags::MOUNT_ATTR_RDONLY, ..Attributes::default() };
            writable.apply(&self.dir, false).doing(doing)?;
            self.closed = true;
        }
        Ok(())
    }

    /// Where empty files come from. Fails before [`NewRoot::attach`].
    pub(crate) fn memory(&self) -> Result<&Memory> {
        self.memory.as_ref().ok_or_else(|| Error::new("files in memory", "there are none yet"))
    }

    pub(crate) fn dir_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Makes it the root of this mount namespace, and unmounts all that is not below it.
    pub(crate) fn pivot(self) -> Result<()> {
        if self.closed {
            make_read_only(&self.dir, false)?;
        }
        let on_root = self.memory.as_ref().is_some_and(|memory| memory.covers_root);
        match pivot(&self.dir, on_root.into()) {
            // What was mounted before the user namespace was made is locked to its place, and a copy is not
            // (mount_namespaces(7), "Restrictions on mount namespaces").
            Err(error) if error.errno() == Some(Errno::EINVAL) => {
                let doing = || format!("root {}", self.path.display());
                let copy = copy_below(&self.dir, "", true).doing(doing)?;
                attach(&copy, &self.dir, &self.path)?;
                pivot(copy, on_root.into())
            }
            done => done,
        }
    }
}

/// Whether both are the same directory of the same mount (statx(2), STATX_MNT_ID, Linux 5.8).
pub(crate) fn is_same(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    let look = |dir: BorrowedFd| statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::MNT_ID);
    let (one, other) = (look(one.as_fd())?, look(other.as_fd())?);
    Ok(one.stx_mnt_id == other.stx_mnt_id && one.stx_ino == other.stx_ino)
}
