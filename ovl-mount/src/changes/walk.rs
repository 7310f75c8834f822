//! The list of changes: a directory before what is in it, and that ordered by the bytes of the names.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
};

use chain::{Doing, Result};

use super::{
    Dir, Entry, Prefix, Redirect,
    compare::{same_content, same_metadata},
    dir::{open_dir, shown},
    file::Kind as FileKind,
    lower::{Lower, Lowers, Place},
};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// There was nothing.
    Added,
    /// It holds something else.
    Changed,
    /// There is nothing any more.
    Removed,
    /// It is of another kind, or a directory that was removed and made again.
    Replaced,
    /// It holds the same, but owner, permissions, times or attributes are others.
    Metadata,
}

/// A change to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Below the root of the overlay.
    pub path: PathBuf,
    /// What happened.
    pub kind: Kind,
    /// The file in the upper directory; a whiteout if what was there is removed.
    pub entry: Entry,
    /// Where it was before, with all or with the content that is not in the upper directory.
    pub from: Option<PathBuf>,
    /// What the layers below show at `path`, if they are known.
    pub lower: Option<Lower>,
    /// What they show where it came from, which is there if it was not moved.
    pub source: Option<Lower>,
}

/// All changes in an upper directory.
///
/// Without `lowers`, what cannot be known is taken for what is likely: a file that was not copied up was
/// added, one that was has changed, and a directory that was and holds nothing has other metadata.
pub fn changes(upper: impl AsFd, prefix: Prefix, lowers: Option<&Lowers>) -> Result<Vec<Change>> {
    let mut walk = Walk { prefix, lowers, changes: Vec::new() };
    let below = match lowers {
        Some(lowers) => Below::Known(lowers.root()),
        None => Below::Unknown(PathBuf::new()),
    };
    walk.dir(upper.as_fd(), Path::new(""), &below)?;
    Ok(walk.changes)
}

/// What is below a directory of the upper layer.
enum Below {
    /// The layers are not known; so much is, where it is in them.
    Unknown(PathBuf),
    /// This, which may be nothing.
    Known(Place),
}

struct Walk<'a> {
    prefix: Prefix,
    lowers: Option<&'a Lowers>,
    changes: Vec<Change>,
}

impl Walk<'_> {
    /// Whether there is an entry more or less in the directory.
    fn dir(&mut self, dir: BorrowedFd, path: &Path, below: &Below) -> Result<bool> {
        let mut is_other = false;
        for entry in Dir::new(dir, self.prefix).entries(path)? {
            let at = path.join(entry.os_name());
            let kind = self.entry(dir, at, entry, below)?;
            is_other |= matches!(kind, Some(Kind::Added | Kind::Removed | Kind::Replaced));
        }
        Ok(is_other)
    }

    fn entry(&mut self, dir: BorrowedFd, path: PathBuf, entry: Entry, below: &Below) -> Result<Option<Kind>> {
        let doing = || format!("look below {}", path.display());
        let are_moved = self.lowers.is_some_and(|lowers| lowers.are_moved);
        let moved = entry.marks.redirect.as_ref().filter(|_| are_moved).map(|_| Redirect::to(&path));
        let redirect = moved.as_ref().or(entry.marks.redirect.as_ref());
        let parent = match below {
            Below::Unknown(path) | Below::Known(Place { path, .. }) => path,
        };
        let same_name = parent.join(entry.os_name());
        let from = redirect.map(|redirect| redirect.path(parent)).filter(|from| *from != same_name);
        let (lower, source, place) = match (below, self.lowers) {
            (Below::Known(parent), Some(lowers)) => {
                let natural = lowers.find(parent, &entry.name, None).doing(doing)?;
                let found = match redirect {
                    Some(redirect) => lowers.find(parent, &entry.name, Some(redirect)).doing(doing)?,
                    None => natural.clone(),
                };
                // Even in a directory that is new, below which nothing was.
                let natural = if moved.is_some() { found.clone() } else { natural };
                let nothing = || (None, Place::nothing(same_name.clone()));
                let (source, place) = found.map_or_else(nothing, |(lower, place)| (Some(lower), place));
                (natural.map(|(lower, _)| lower), source, Below::Known(place))
            }
            (Below::Known(_), None) if redirect.is_none() => {
                (None, None, Below::Known(Place::nothing(same_name.clone())))
            }
            _ => (None, None, Below::Unknown(from.clone().unwrap_or(same_name.clone()))),
        };
        let place = if entry.marks.opaque { Below::Known(Place::nothing(same_name)) } else { place };
        let kind = match below {
            Below::Unknown(_) => likely(&entry),
            Below::Known(_) => self.known(dir, &entry, lower.as_ref(), from.is_some())?,
        };
        let is_dir = entry.stat.kind == FileKind::Directory;
        let (name, origin) = (entry.name.clone(), entry.marks.origin);
        let mtime_differs = lower.as_ref().is_some_and(|lower| lower.stat.mtime != entry.stat.mtime);
        let before = self.changes.len();
        let change = Change { path, kind: kind.unwrap_or(Kind::Metadata), entry, from, lower, source };
        if !is_dir {
            self.changes.extend(kind.map(|_| change));
            return Ok(kind);
        }
        let doing = || format!("open {}", shown(&change.path));
        let inner = open_dir(dir, &name).doing(doing)?;
        let path = change.path.clone();
        self.changes.push(change);
        let is_other = self.dir(inner.as_fd(), &path, &place)?;
        let is_empty = self.changes.len() == before + 1;
        let is_change = match (kind, below) {
            (Some(_), _) => true,
            // Its time tells of the entries in it, unless there are none more or less.
            (None, Below::Known(_)) => mtime_differs && !is_other,
            (None, Below::Unknown(_)) => origin && is_empty,
        };
        if !is_change {
            self.changes.remove(before);
        }
        Ok(kind)
    }

    /// What happened to a path, when the layers below are known. A directory's time is not looked at.
    fn known(
        &self,
        dir: BorrowedFd,
        entry: &Entry,
        lower: Option<&Lower>,
        is_moved: bool,
    ) -> Result<Option<Kind>> {
        let (Some(lower), Some(lowers)) = (lower, self.lowers) else {
            return Ok((!entry.marks.whiteout).then_some(Kind::Added));
        };
        if entry.marks.whiteout {
            return Ok(Some(Kind::Removed));
        }
        let is_dir = entry.stat.kind == FileKind::Directory;
        if entry.stat.kind != lower.stat.kind || is_dir && (is_moved || entry.marks.opaque) {
            return Ok(Some(Kind::Replaced));
        }
        let same = if entry.marks.metacopy { !is_moved } else { same_content(dir, entry, lowers, lower)? };
        if !same {
            return Ok(Some(Kind::Changed));
        }
        Ok((!same_metadata(dir, self.prefix, entry, lowers, lower)?).then_some(Kind::Metadata))
    }
}

/// What likely happened to a path, when the layers below are not known.
fn likely(entry: &Entry) -> Option<Kind> {
    let marks = &entry.marks;
    let is_dir = entry.stat.kind == FileKind::Directory;
    match marks {
        _ if marks.whiteout => Some(Kind::Removed),
        _ if marks.redirect.is_some() => Some(Kind::Added),
        _ if marks.metacopy => Some(Kind::Metadata),
        _ if is_dir && marks.origin && !marks.opaque => None,
        _ if marks.origin => Some(Kind::Changed),
        _ => Some(Kind::Added),
    }
}
