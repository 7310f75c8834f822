//! What was renamed in the overlay and is not in the upper directory as a whole, because it still is in the layers
//! below: a directory with overlay.redirect, or a file that has only its metadata in the upper directory.
//!
//! To apply such a rename twice would be wrong, and so which ones there are is written down first, with the number
//! of the inode that is moved: by it one knows after a crash where it is. All are first taken out of their places,
//! those that lie deepest first, and then put into the new ones, as one may go where another was. That a rename is
//! done is noted on the file in the upper directory, where overlayfs shows it to nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{CStr, CString, OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Result};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags, openat, renameat};

use super::{
    choice::Choice,
    tree::{Tree, write_safely},
};
use crate::changes::{Dir, FileKind, Prefix, Stat, dir::open_dir, lower::parent};

const JOURNAL: &CStr = c"moves";

/// One rename.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    inode: u64,
}

/// What there is to rename in an upper directory.
#[derive(Debug)]
pub(super) struct Wanted {
    /// From where and to where.
    pub(super) moves: Vec<(PathBuf, PathBuf)>,
    /// Further names of files that have their content in the layers below: such a file is moved to one of its
    /// names, or stays where it is, and the others are made of that one.
    pub(super) further_names: BTreeSet<PathBuf>,
    /// Renames that are not chosen: what they are of is in its old place still.
    pub(super) left: Vec<(PathBuf, PathBuf)>,
}

pub(super) fn wanted(upper: &OwnedFd, prefix: Prefix, done: &Done, choice: &Choice) -> Result<Wanted> {
    let mut found = Vec::new();
    look(upper.as_fd(), prefix, (Path::new(""), Path::new("")), done, &mut found)?;
    let mut files = BTreeMap::<_, Vec<&Redirected>>::new();
    for one in &found {
        if let Some(identity) = one.shared {
            files.entry(identity).or_default().push(one);
        }
    }
    let mut further_names = BTreeSet::new();
    for names in files.values() {
        let taken = || names.iter().filter(|one| choice.takes(&one.to));
        let stays = names.iter().find(|one| one.from == one.to);
        let kept = stays.or_else(|| taken().next()).map(|one| &one.to);
        for other in taken().filter(|one| Some(&one.to) != kept) {
            if let Some(stays) = stays.filter(|stays| !choice.takes(&stays.to)) {
                let why = format!("it is a further name of {}, which is not chosen", stays.to.display());
                return Err(Error::new(other.to.display().to_string(), why).hint("choose both or none"));
            }
            further_names.insert(other.to.clone());
        }
    }
    let is_move = |one: &&Redirected| one.from != one.to && !one.is_done && !further_names.contains(&one.to);
    let (moves, mut left): (Vec<_>, Vec<_>) = found
        .iter()
        .filter(is_move)
        .map(|one| (one.from.clone(), one.to.clone()))
        .partition(|(_, to)| choice.takes(to));
    // A further name of what is moved is made of it.
    left.retain(|(from, _)| !moves.iter().any(|(moved, _)| moved == from));
    Ok(Wanted { moves, further_names, left })
}

/// What has its content in the layers below, under the same name or another.
struct Redirected {
    from: PathBuf,
    to: PathBuf,
    is_done: bool,
    /// The file, if it has several names.
    shared: Option<((u32, u32), u64)>,
}

fn look(
    dir: BorrowedFd,
    prefix: Prefix,
    (path, below): (&Path, &Path),
    done: &Done,
    found: &mut Vec<Redirected>,
) -> Result<()> {
    for entry in Dir::new(dir, prefix).entries(path)? {
        let path = path.join(entry.os_name());
        let mut below = below.join(entry.os_name());
        if let Some(redirect) = &entry.marks.redirect {
            below = redirect.path(below.parent().unwrap_or(Path::new("")));
        }
        let is_shared = entry.marks.metacopy && entry.stat.nlink > 1;
        if entry.marks.redirect.is_some() || is_shared {
            let is_done = done.is_on(dir, &entry.name).doing(|| format!("look at {}", path.display()))?;
            let shared = is_shared.then(|| entry.stat.identity());
            found.push(Redirected { from: below.clone(), to: path.clone(), is_done, shared });
        }
        if entry.stat.kind == FileKind::Directory {
            let inner = open_dir(dir, &entry.name).doing(|| format!("open {}", path.display()))?;
            look(inner.as_fd(), prefix, (&path, &below), done, found)?;
        }
    }
    Ok(())
}

/// The note that a rename is done in a certain directory.
pub(super) struct Done {
    attribute: CString,
    value: String,
}

impl Done {
    pub(super) fn new(prefix: Prefix, target: &Stat) -> Self {
        let attribute = CString::new(format!("{}committed", prefix.text())).unwrap_or_default();
        Self { attribute, value: name_of(target) }
    }

    fn is_on(&self, dir: BorrowedFd, name: &CStr) -> nix::Result<bool> {
        Ok(chain::xattr::get(dir, name, &self.attribute)?.is_some_and(|value| value == self.value.as_bytes()))
    }

    /// Whether it is noted on what has this path: then it can be another file by now, made of the one that was moved.
    fn is_noted(&self, upper: &OwnedFd, path: &Path) -> Result<bool> {
        let doing = || format!("look at {}", path.display());
        let (dir, name) = parent(upper, path).doing(doing)?;
        self.is_on(dir.as_fd(), &name).doing(doing)
    }

    fn put_on(&self, upper: &OwnedFd, path: &Path) -> Result<()> {
        let doing = || format!("note on {} of the upper directory that it is done", path.display());
        let (dir, name) = parent(upper, path).doing(doing)?;
        chain::xattr::set(dir.as_fd(), &name, &self.attribute, self.value.as_bytes()).doing(doing)
    }
}

/// What a journal is of: an upper directory, and what was chosen of it.
pub(super) fn title(upper: &Stat, choice: &Choice) -> String {
    format!("{}\n{}", name_of(upper), choice.words())
}

/// What a run before this has begun: where, and the renames. It is begun when they are written down.
pub(super) fn begun(tree: &Tree, title: &str) -> Result<Option<(OwnedFd, Vec<Move>)>> {
    let Some(stage) = tree.existing_stage()? else { return Ok(None) };
    let Some(text) = read(&stage)? else { return Ok(None) };
    let doing = "read .ovl-commit/moves";
    let (of, moves) = parse(&text).ok_or_else(|| Error::new(doing, "it is not a journal of ovl-commit"))?;
    if of == title {
        return Ok(Some((stage, moves)));
    }
    let upper = |title: &str| title.split('\n').next().unwrap_or_default().to_owned();
    if upper(&of) != upper(title) {
        let known = upper(&of);
        let known = known.split(' ').next().and_then(|name| name.rsplit_once(':'));
        let which = known.map(|(device, inode)| format!(", which is inode {inode} on device {device}"));
        return Err(Error::new(doing, "the changes of another upper directory are half applied")
            .hint(format!("complete that first{}", which.unwrap_or_default())));
    }
    let words = of.split_once('\n').map_or("", |(_, words)| words);
    let with = if words.is_empty() { "neither --only nor --exclude" } else { words };
    Err(Error::new(doing, format!("this was begun with {with}"))
        .hint("complete that first, by the same words"))
}

/// Writes down what is to be renamed, and of what.
pub(super) fn begin(tree: &Tree, title: &str, wanted: &[(PathBuf, PathBuf)]) -> Result<(OwnedFd, Vec<Move>)> {
    let mut moves = Vec::new();
    for (from, to) in wanted {
        let doing = || format!("move {} to {}", from.display(), to.display());
        let stat = match tree.find(from)? {
            Some(spot) => spot.stat().doing(doing)?,
            None => None,
        };
        let stat = stat.ok_or(Errno::ENOENT).doing(doing)?;
        moves.push(Move { from: from.clone(), to: to.clone(), inode: stat.ino });
    }
    let stage = tree.stage()?;
    write_safely(&stage, JOURNAL, &written(title, &moves))?;
    Ok((stage, moves))
}

/// Renames what is not yet where it belongs.
pub(super) fn carry_out(
    tree: &Tree,
    stage: &OwnedFd,
    moves: &[Move],
    upper: &OwnedFd,
    done: &Done,
) -> Result<()> {
    let mut deepest: Vec<_> = moves.iter().enumerate().collect();
    deepest.sort_by_key(|(_, one)| std::cmp::Reverse(one.from.components().count()));
    let staged = |at: usize| CString::new(format!("move{at}")).unwrap_or_default();
    let is_placed = |one: &Move| -> Result<bool> {
        let doing = || format!("look at {}", one.to.display());
        let Some(spot) = tree.find(&one.to)? else { return Ok(false) };
        Ok(spot.stat().doing(doing)?.is_some_and(|stat| stat.ino == one.inode))
    };
    for (at, one) in deepest {
        let doing = || format!("take {} out of its place", one.from.display());
        if let Some(spot) = tree.find(&one.from)?
            && one.from != one.to
            && spot.stat().doing(doing)?.is_some_and(|stat| stat.ino == one.inode)
        {
            renameat(&spot.dir, &spot.name, stage, staged(at)).doing(doing)?;
        }
    }
    let mut shallowest: Vec<_> = moves.iter().enumerate().collect();
    shallowest.sort_by_key(|(_, one)| one.to.components().count());
    for (at, one) in shallowest {
        let doing = || format!("put {} into its place", one.to.display());
        if Stat::find(stage, &staged(at)).doing(doing)?.is_some() {
            tree.make_above(&one.to)?;
            let spot = tree.spot(&one.to)?;
            spot.clear().doing(doing)?;
            renameat(stage, staged(at), &spot.dir, &spot.name).doing(doing)?;
        } else if !is_placed(one)? && !done.is_noted(upper, &one.to)? {
            return Err(Error::new(doing(), "it is gone; somebody else has moved it meanwhile"));
        }
        done.put_on(upper, &one.to)?;
    }
    Ok(())
}

impl Move {
    fn line(&self) -> Vec<u8> {
        let inode = self.inode.to_string();
        let parts = [inode.as_bytes(), self.from.as_os_str().as_bytes(), self.to.as_os_str().as_bytes(), b""];
        parts.join(&b'\0')
    }
}

/// What tells a directory from all others, also from a later one: the number of an inode is given again.
fn name_of(dir: &Stat) -> String {
    let (((major, minor), inode), born) = (dir.identity(), dir.btime.unwrap_or_default());
    format!("{major}:{minor}:{inode} {}.{:09}", born.sec, born.nsec)
}

fn written(title: &str, moves: &[Move]) -> Vec<u8> {
    let first = [title.as_bytes(), b"\0"].concat();
    first.into_iter().chain(moves.iter().flat_map(Move::line)).collect()
}

/// What it is of, and the renames.
fn parse(text: &[u8]) -> Option<(String, Vec<Move>)> {
    let parts: Vec<_> = text.split(|byte| *byte == 0).collect();
    let (last, parts) = parts.split_last()?;
    let (title, parts) = parts.split_first()?;
    if !last.is_empty() || parts.len() % 3 != 0 {
        return None;
    }
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let one = |parts: &[&[u8]]| {
        let inode = OsStr::from_bytes(parts[0]).to_str()?.parse().ok()?;
        Some(Move { inode, from: path(parts[1]), to: path(parts[2]) })
    };
    let moves = parts.chunks(3).map(one).collect::<Option<_>>()?;
    Some((String::from_utf8(title.to_vec()).ok()?, moves))
}

fn read(stage: &OwnedFd) -> Result<Option<Vec<u8>>> {
    let doing = || "read .ovl-commit/moves".to_owned();
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match openat(stage, JOURNAL, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        file => file.doing(doing)?,
    };
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::fs::File::from(file), &mut text).doing(doing)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_journal_comes_back(moves in proptest::collection::vec((any::<u64>(), "[^\\x00]{1,9}", "[^\\x00]{1,9}"), 0..5)) {
            let moves: Vec<_> =
                moves.into_iter().map(|(inode, from, to)| Move { inode, from: from.into(), to: to.into() }).collect();
            prop_assert_eq!(parse(&written("1:2:3 4.5", &moves)), Some(("1:2:3 4.5".into(), moves)));
        }

        #[test]
        fn no_journal_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
