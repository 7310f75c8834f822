//! The directories above a path that are missing in the directory that is changed.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use chain::{Doing, Result};
use nix::errno::Errno;

use super::{file::make, tree::Tree};
use crate::changes::{Entry, FileKind, Prefix, lower::parent};

/// Makes them as they are in the upper directory, also if it is only something in them that is applied.
pub(super) struct Above<'a> {
    pub(super) tree: &'a Tree,
    pub(super) stage: &'a OwnedFd,
    pub(super) upper: &'a OwnedFd,
    pub(super) prefix: Prefix,
    made: RefCell<BTreeSet<PathBuf>>,
}

impl<'a> Above<'a> {
    pub(super) fn new(tree: &'a Tree, stage: &'a OwnedFd, upper: &'a OwnedFd, prefix: Prefix) -> Self {
        Self { tree, stage, upper, prefix, made: RefCell::default() }
    }

    /// Makes those above `path`. Each has its owner and its mode from the moment at which it is there, so that after an
    /// interruption nobody has to know who has made it; but its owner may write to it until all is in it.
    pub(super) fn make(&self, path: &Path) -> Result<()> {
        let above: Vec<_> = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        for dir in above.into_iter().rev() {
            let spot = self.tree.spot(dir)?;
            let doing = || format!("make {}", dir.display());
            if spot.stat().doing(doing)?.is_some_and(|stat| stat.kind == FileKind::Directory) {
                continue;
            }
            let (upper, name) = parent(self.upper, dir).doing(doing)?;
            let entry = Entry::find(upper.as_fd(), self.prefix, &name).doing(doing)?;
            let mut entry = entry.ok_or(Errno::ENOENT).doing(doing)?;
            entry.stat.mode |= 0o700;
            make(upper.as_fd(), &entry, self.prefix, self.stage, &spot)
                .map_err(|error| error.within(&dir.display().to_string()))?;
            self.made.borrow_mut().insert(dir.to_path_buf());
        }
        Ok(())
    }

    /// Whether it was made here.
    pub(super) fn has_made(&self, dir: &Path) -> bool {
        self.made.borrow().contains(dir)
    }
}
