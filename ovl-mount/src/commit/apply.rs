//! All changes but renames, in the order of their paths: a directory before what is in it, and its times when all is.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Result};
use rustix::fs::{Mode, mkdirat};

use super::{
    above::Above,
    choice::Choice,
    file::{dress, link, make, set_times},
    tree::Tree,
};
use crate::changes::{
    Change, Dir, Entry, FileKind, Kind, Prefix,
    dir::{names, open_dir},
    lower::parent,
};
use crate::own::{changing, remove};

/// What is the same for all.
struct Work<'a> {
    tree: &'a Tree,
    stage: &'a OwnedFd,
    upper: &'a OwnedFd,
    prefix: Prefix,
    above: &'a Above<'a>,
    further_names: &'a BTreeSet<PathBuf>,
}

pub(super) fn all(
    above: &Above,
    found: &[Change],
    choice: &Choice,
    further_names: &BTreeSet<PathBuf>,
) -> Result<()> {
    let Above { tree, stage, upper, prefix, .. } = *above;
    let work = Work { tree, stage, upper, prefix, above, further_names };
    for change in found {
        work.apply(change).map_err(|error| error.within(&change.path.display().to_string()))?;
    }
    let mut rest = Rest { choice, links: BTreeMap::new(), dirs: Vec::new() };
    let _ = rest.collect(upper.as_fd(), prefix, Path::new(""))?;
    for names in rest.links.values_mut() {
        // First the name that the file has already.
        names.sort_by_key(|name| further_names.contains(name));
        work.join(names)?;
    }
    // The innermost first: what is done in one changes the time of the one around it.
    for (path, entry, is_taken) in rest.dirs.iter().rev() {
        work.finish(path, entry, *is_taken).map_err(|error| error.within(&path.display().to_string()))?;
    }
    Ok(())
}

impl Work<'_> {
    fn apply(&self, change: &Change) -> Result<()> {
        let (path, entry) = (change.path.as_path(), &change.entry);
        if change.kind == Kind::Removed {
            return match self.tree.find(path)? {
                Some(spot) => spot.clear().doing(|| "remove it".into()),
                None => Ok(()),
            };
        }
        self.above.make(path)?;
        if self.further_names.contains(path) {
            return Ok(());
        }
        let spot = self.tree.spot(path)?;
        let now = spot.stat().doing(|| "look at it".into())?;
        let (above, _) = parent(self.upper, path).doing(|| "find it in the upper directory".into())?;
        if entry.stat.kind == FileKind::Directory {
            if now.is_some_and(|now| now.kind == FileKind::Directory) {
                return if matches!(change.kind, Kind::Added | Kind::Replaced) {
                    let dir = open_dir(&spot.dir, &spot.name).doing(|| "open it".into())?;
                    self.clear_but(above.as_fd(), entry, &dir)
                } else {
                    Ok(())
                };
            }
            spot.clear().doing(|| "replace it".into())?;
            return changing(&spot.dir, || mkdirat(&spot.dir, &spot.name, Mode::RWXU))
                .doing(|| "make it".into());
        }
        let is_shared = now.is_some_and(|now| now.nlink > 1);
        match change.kind {
            Kind::Metadata if !is_shared => {
                dress(above.as_fd(), entry, self.prefix, spot.dir.as_fd(), &spot.name)
            }
            Kind::Added | Kind::Changed | Kind::Replaced if entry.marks.metacopy => {
                Err(Error::new("its content", "it is in the layers below, where it is gone"))
            }
            _ => make(above.as_fd(), entry, self.prefix, self.stage, &spot),
        }
    }

    /// Removes what is in a directory that was made anew in the overlay, but for what that has there.
    fn clear_but(&self, above: BorrowedFd, entry: &Entry, dir: &OwnedFd) -> Result<()> {
        let doing = || "clear it".to_owned();
        let own = open_dir(above, &entry.name).doing(doing)?;
        let kept = Dir::new(own.as_fd(), self.prefix).entries(Path::new(""))?;
        for name in names(dir.as_fd()).doing(doing)? {
            if !kept.iter().any(|entry| entry.name == name && !entry.marks.whiteout) {
                remove(dir, &name).doing(doing)?;
            }
        }
        Ok(())
    }

    /// Makes one file of several names that are one in the upper directory.
    fn join(&self, names: &[PathBuf]) -> Result<()> {
        let [first, others @ ..] = names else { return Ok(()) };
        let doing = || format!("look at {}", first.display());
        let one = self.tree.spot(first)?;
        let Some(identity) = one.stat().doing(doing)?.map(|stat| stat.identity()) else { return Ok(()) };
        for path in others {
            let spot = self.tree.spot(path)?;
            if spot.stat().doing(doing)?.map(|stat| stat.identity()) != Some(identity) {
                link(&one, self.stage, &spot).map_err(|error| error.within(&path.display().to_string()))?;
            }
        }
        Ok(())
    }

    /// Gives a directory what it has in the upper one, or the time alone.
    fn finish(&self, path: &Path, entry: &Entry, is_taken: bool) -> Result<()> {
        let Some(spot) = self.tree.find(path)? else { return Ok(()) };
        let now = spot.stat().doing(|| "look at it".into())?;
        if now.is_none_or(|now| now.kind != FileKind::Directory) {
            return Ok(());
        }
        if !is_taken && !self.above.has_made(path) {
            return set_times(&entry.stat, spot.dir.as_fd(), &spot.name);
        }
        let (above, _) = parent(self.upper, path).doing(|| "find it in the upper directory".into())?;
        dress(above.as_fd(), entry, self.prefix, spot.dir.as_fd(), &spot.name)
    }
}

/// What is looked at when all files are in their places.
struct Rest<'a> {
    choice: &'a Choice,
    /// The names of files that have several.
    links: BTreeMap<((u32, u32), u64), Vec<PathBuf>>,
    /// The directories in which something is applied, each before those in it, and whether it is itself.
    dirs: Vec<(PathBuf, Entry, bool)>,
}

impl Rest<'_> {
    /// Whether something in the directory is applied.
    fn collect(&mut self, dir: BorrowedFd, prefix: Prefix, path: &Path) -> Result<bool> {
        let mut is_any = false;
        for entry in Dir::new(dir, prefix).entries(path)? {
            let path = path.join(entry.os_name());
            let is_taken = self.choice.takes(&path);
            if entry.stat.kind == FileKind::Directory {
                let inner = open_dir(dir, &entry.name).doing(|| format!("open {}", path.display()))?;
                let at = self.dirs.len();
                self.dirs.push((path.clone(), entry, is_taken));
                let is_any_inside = self.collect(inner.as_fd(), prefix, &path)?;
                if !is_taken && !is_any_inside {
                    self.dirs.truncate(at);
                }
                is_any |= is_any_inside;
            } else if is_taken && entry.stat.nlink > 1 && !entry.marks.whiteout {
                self.links.entry(entry.stat.identity()).or_default().push(path);
            }
            is_any |= is_taken;
        }
        Ok(is_any)
    }
}
