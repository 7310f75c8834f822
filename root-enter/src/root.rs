//! The new root, from a directory to `/`.

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use chain::{
    Doing, Remedy, Result,
    mount::{attach, copy_tree, is_mount_root, open_dir},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    unistd::{chdir, fchdir, pivot_root},
};

/// A directory that is a mount of its own, and so can become the root.
pub(crate) struct NewRoot(OwnedFd);

impl NewRoot {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let doing = || format!("root {}", path.display());
        // By its whole name: `.` would be what lies under a mount that was made on it since.
        let path = fs::canonicalize(path).doing(doing)?;
        let dir = open_dir(&path).doing(doing)?;
        if is_mount_root(&dir) {
            return Ok(Self(dir));
        }
        // pivot_root(2) takes only mounts, so the directory is bound on itself, with all below it.
        let tree = copy_tree(&path, true)?;
        attach(&tree, dir, &path)?;
        Ok(Self(tree))
    }

    pub(crate) fn dir_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Makes it the root of this mount namespace, and unmounts all that is not below it.
    pub(crate) fn pivot(self) -> Result<()> {
        fchdir(&self.0).doing(|| "go to the new root".into())?;
        // With both the same, the old root ends up on top of the new one, where the working
        // directory still finds it (pivot_root(2), "pivot_root(\".\", \".\")").
        pivot_root(".", ".")
            .doing(|| "pivot_root".into())
            .remedy(Errno::EINVAL, "the present root cannot be left: is it the initial ramfs?")?;
        umount2(".", MntFlags::MNT_DETACH).doing(|| "unmount the old root".into())?;
        chdir("/").doing(|| "go to the new /".into())
    }
}
