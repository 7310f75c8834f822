//! What goes from the directory with a change besides what the change names: all that is in a directory that was
//! removed or made anew in the overlay.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;
use rustix::fs::OFlags;

use super::{choice::Choice, moves::Wanted, tree::Tree};
use crate::changes::{
    Change, FileKind, Kind, Stat, Time,
    dir::{check_place, names},
    lower::{open_below, parent},
};

/// What may go and what may not.
pub(super) struct Rules<'a> {
    pub(super) tree: &'a Tree,
    pub(super) upper: &'a OwnedFd,
    pub(super) choice: &'a Choice,
    pub(super) wanted: &'a Wanted,
}

impl Rules<'_> {
    /// Fails, before anything is changed, if something would go that must not: what is left out, what is on another
    /// filesystem, and what was renamed in the overlay to a name that is not chosen. Gives what has been changed since
    /// the overlay took away what it is in.
    pub(super) fn check(&self, found: &[Change]) -> Result<Vec<PathBuf>> {
        let mut newer = Vec::new();
        for change in found {
            if change.kind != Kind::Metadata {
                self.check_moves(&change.path)?;
            }
            let is_whole = matches!(change.kind, Kind::Removed | Kind::Replaced) || change.entry.marks.opaque;
            let was_directory =
                change.lower.as_ref().is_some_and(|lower| lower.stat.kind == FileKind::Directory);
            if !is_whole || !was_directory || self.is_moved(&change.path) {
                continue;
            }
            if let Some(spot) = self.tree.find(&change.path)? {
                let taken = change.entry.stat.btime.unwrap_or(change.entry.stat.ctime);
                let name = Path::new(OsStr::from_bytes(spot.name.as_bytes()));
                self.look(spot.dir.as_fd(), name, &change.path, (&change.path, taken), &mut newer)?;
            }
        }
        Ok(newer)
    }

    /// `dir` holds what is at `path` by the name `name`. It goes with the change of `top`, which is of the time `taken`.
    fn look(
        &self,
        dir: BorrowedFd,
        name: &Path,
        path: &Path,
        (top, taken): (&Path, Time),
        newer: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let doing = || format!("look at {}", path.display());
        let inner = open_below(dir, name, OFlags::DIRECTORY)
            .doing(doing)
            .remedy(Errno::EXDEV, "another filesystem is mounted there, and would be emptied")?;
        for name in names(inner.as_fd()).doing(doing)? {
            check_place(path, &name)?;
            let os_name = Path::new(OsStr::from_bytes(name.as_bytes()));
            let path = path.join(os_name);
            let Some(stat) = Stat::find(&inner, &name).doing(doing)? else { continue };
            if self.is_moved(&path) {
                continue;
            }
            self.check_moves(&path)?;
            if !self.choice.takes(&path) {
                let why = format!("it is left out, but would go with {}", top.display());
                return Err(Error::new(path.display().to_string(), why).hint("choose both or none"));
            }
            if stat.mtime > taken && !self.is_applied(&path, &stat) {
                newer.push(path.clone());
            }
            if stat.kind == FileKind::Directory {
                self.look(inner.as_fd(), os_name, &path, (top, taken), newer)?;
            }
        }
        Ok(())
    }

    /// Whether it has the time of what the upper directory has there: a run before this has put it there.
    fn is_applied(&self, path: &Path, stat: &Stat) -> bool {
        let found = parent(self.upper, path).and_then(|(dir, name)| Stat::find(&dir, &name));
        found.is_ok_and(|own| own.is_some_and(|own| own.mtime == stat.mtime))
    }

    /// Whether what is there goes to another place.
    fn is_moved(&self, path: &Path) -> bool {
        self.wanted.moves.iter().any(|(from, _)| from == path)
    }

    fn check_moves(&self, path: &Path) -> Result<()> {
        match self.wanted.left.iter().find(|(from, _)| from == path) {
            None => Ok(()),
            Some((_, to)) => {
                let why = format!("what is there is {} in the overlay, which is not chosen", to.display());
                Err(Error::new(path.display().to_string(), why).hint("choose both or none"))
            }
        }
    }
}
