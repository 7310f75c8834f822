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

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;
use rustix::fs::{Mode, OFlags, openat, renameat};

use super::{
    above::Above,
    choice::Choice,
    tree::{JOURNAL, Tree, write_safely},
};
use crate::changes::{
    Dir, FileKind, Prefix, Stat,
    dir::open_dir,
    lower::{open_below, parent},
};
use crate::own::changing;

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
    /// The note of what was begun before, or of a new run. Which device the directory is on tells it from a copy or a
    /// snapshot; but that number can be another one after the machine has started again, and so the journal keeps
    /// the note.
    pub(super) fn new(prefix: Prefix, begun: Option<&Begun>, target: &Stat) -> Self {
        let attribute = CString::new(format!("{}committed", prefix.text())).unwrap_or_default();
        let (major, minor) = target.dev;
        let new = || format!("{major}:{minor}:{}", name_of(target));
        Self { attribute, value: begun.map_or_else(new, |begun| begun.note.clone()) }
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

    /// Finds out whether notes can be written, before anything is renamed.
    fn try_on(&self, upper: &OwnedFd) -> Result<()> {
        let doing = || "note in the upper directory what is done".to_owned();
        let hint = "it must be writable, as renames cannot be applied without";
        chain::xattr::set(upper.as_fd(), c".", &self.attribute, b"")
            .and_then(|()| chain::xattr::remove(upper.as_fd(), c".", &self.attribute))
            .doing(doing)
            .remedy(Errno::EROFS, hint)
            .remedy(Errno::EACCES, hint)
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

/// A commit that is begun: the renames are written down.
pub(super) struct Begun {
    pub(super) stage: OwnedFd,
    pub(super) moves: Vec<Move>,
    /// The value of the note on each that is done.
    note: String,
}

/// What a run before this has begun.
pub(super) fn begun(tree: &Tree, title: &str) -> Result<Option<Begun>> {
    let Some(stage) = tree.existing_stage()? else { return Ok(None) };
    let Some(text) = read(&stage)? else { return Ok(None) };
    let doing = "read .ovl-commit/moves";
    let (of, note, moves) =
        parse(&text).ok_or_else(|| Error::new(doing, "it is not a journal of ovl-commit"))?;
    if of == title {
        return Ok(Some(Begun { stage, moves, note }));
    }
    let upper = |title: &str| title.split('\n').next().unwrap_or_default().to_owned();
    if upper(&of) != upper(title) {
        let known = upper(&of);
        let inode = known.split(' ').next().unwrap_or_default();
        return Err(Error::new(doing, "the changes of another upper directory are half applied")
            .hint(format!("complete that first, which is inode {inode}")));
    }
    let words = of.split_once('\n').map_or("", |(_, words)| words);
    let with = if words.is_empty() { "neither --only nor --exclude" } else { words };
    Err(Error::new(doing, format!("this was begun with {with}"))
        .hint("complete that first, by the same words"))
}

/// Writes down what is to be renamed, and of what, if all that can be done.
pub(super) fn begin(
    tree: &Tree,
    title: &str,
    wanted: &[(PathBuf, PathBuf)],
    upper: &OwnedFd,
    done: &Done,
) -> Result<Begun> {
    let mut moves = Vec::new();
    for (from, to) in wanted {
        let doing = || format!("move {} to {}", from.display(), to.display());
        let spot = tree.find(from)?.ok_or(Errno::ENOENT).doing(doing)?;
        let name = Path::new(OsStr::from_bytes(spot.name.as_bytes()));
        let file = open_below(&spot.dir, name, OFlags::PATH)
            .doing(doing)
            .remedy(Errno::EXDEV, "something is mounted there, which cannot be moved")?;
        let stat = Stat::of_open(&file).doing(doing)?;
        moves.push(Move { from: from.clone(), to: to.clone(), inode: stat.ino });
    }
    if !moves.is_empty() {
        done.try_on(upper)?;
    }
    let stage = tree.stage()?;
    write_safely(&stage, JOURNAL, &written(title, &done.value, &moves))?;
    Ok(Begun { stage, moves, note: done.value.clone() })
}

/// Renames what is not yet where it belongs.
pub(super) fn carry_out(above: &Above, moves: &[Move], done: &Done) -> Result<()> {
    let Above { tree, stage, upper, .. } = *above;
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
        // What is done is not there any more, but another file may have got its number meanwhile.
        if let Some(spot) = tree.find(&one.from)?
            && one.from != one.to
            && !done.is_noted(upper, &one.to)?
            && spot.stat().doing(doing)?.is_some_and(|stat| stat.ino == one.inode)
        {
            rename((&spot.dir, &spot.name), (stage, &staged(at)), &spot.dir).doing(doing)?;
        }
    }
    let mut shallowest: Vec<_> = moves.iter().enumerate().collect();
    shallowest.sort_by_key(|(_, one)| one.to.components().count());
    for (at, one) in shallowest {
        let doing = || format!("put {} into its place", one.to.display());
        if Stat::find(stage, &staged(at)).doing(doing)?.is_some() {
            above.make(&one.to)?;
            let spot = tree.spot(&one.to)?;
            spot.clear().doing(doing)?;
            rename((stage, &staged(at)), (&spot.dir, &spot.name), &spot.dir).doing(doing)?;
        } else if !is_placed(one)? && !done.is_noted(upper, &one.to)? {
            return Err(Error::new(doing(), "it is gone; somebody else has moved it meanwhile"));
        }
    }
    note_all(tree, moves, upper, done)
}

/// Renames something to or from a place in `dir`. To a directory that is moved itself its owner must be able to write
/// too, as the name `..` in it is another one then.
fn rename(from: (&OwnedFd, &CStr), to: (&OwnedFd, &CStr), dir: &OwnedFd) -> rustix::io::Result<()> {
    let rename = || changing(dir, || renameat(from.0, from.1, to.0, to.1));
    match open_dir(from.0, from.1) {
        Ok(moved) => changing(moved, rename),
        Err(_) => rename(),
    }
}

/// Notes that all are done. The two directories may be on two filesystems, of which a loss of power can take the one
/// and not the other: no note is there before what it is about, and nothing that relies on it before the note.
fn note_all(tree: &Tree, moves: &[Move], upper: &OwnedFd, done: &Done) -> Result<()> {
    if moves.is_empty() {
        return Ok(());
    }
    tree.sync()?;
    for one in moves {
        done.put_on(upper, &one.to)?;
    }
    nix::unistd::syncfs(upper).doing(|| "wait for the disk of the upper directory".into())
}

impl Move {
    fn line(&self) -> Vec<u8> {
        let inode = self.inode.to_string();
        let parts = [inode.as_bytes(), self.from.as_os_str().as_bytes(), self.to.as_os_str().as_bytes(), b""];
        parts.join(&b'\0')
    }
}

/// What tells a directory from all others of its filesystem, also from a later one: the number of an inode is given
/// again.
fn name_of(dir: &Stat) -> String {
    let born = dir.btime.unwrap_or_default();
    format!("{} {}.{:09}", dir.ino, born.sec, born.nsec)
}

fn written(title: &str, note: &str, moves: &[Move]) -> Vec<u8> {
    let first = [title.as_bytes(), b"\0", note.as_bytes(), b"\0"].concat();
    first.into_iter().chain(moves.iter().flat_map(Move::line)).collect()
}

/// What it is of, the note on what is done, and the renames.
fn parse(text: &[u8]) -> Option<(String, String, Vec<Move>)> {
    let parts: Vec<_> = text.split(|byte| *byte == 0).collect();
    let (last, parts) = parts.split_last()?;
    let (title, parts) = parts.split_first()?;
    let (note, parts) = parts.split_first()?;
    if !last.is_empty() || parts.len() % 3 != 0 {
        return None;
    }
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let one = |parts: &[&[u8]]| {
        let inode = OsStr::from_bytes(parts[0]).to_str()?.parse().ok()?;
        Some(Move { inode, from: path(parts[1]), to: path(parts[2]) })
    };
    let moves = parts.chunks(3).map(one).collect::<Option<_>>()?;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some((text(title)?, text(note)?, moves))
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
            prop_assert_eq!(parse(&written("3 4.5", "1:2:6 7.8", &moves)), Some(("3 4.5".into(), "1:2:6 7.8".into(), moves)));
        }

        #[test]
        fn no_journal_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
