//! `--patch`: what diff -ruN of the layers below and the overlay would say, with `a/` and `b/` before the
//! names, so that patch -p1 applies it.

use std::{
    fs::File,
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use chain::{Doing, Result};
use rustix::fs::OFlags;
use similar::TextDiff;

use crate::changes::{
    Change, FileKind, Kind, Lower, Lowers,
    compare::target,
    lower::{open_below, parent},
    quoted,
};

/// Above this a file is said to differ: it would have to be in memory twice.
const LARGEST: u64 = 64 << 20;

/// A side of a difference.
enum Side {
    Nothing,
    Text(Vec<u8>),
    /// Its content cannot be shown.
    Binary,
    /// Something else than a regular file, and what to call it.
    Other(String),
}

pub(super) fn patch(upper: &OwnedFd, lowers: &Lowers, changes: &[Change]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for change in changes.iter().filter(|change| change.kind != Kind::Metadata) {
        one(upper, lowers, change, &mut text)?;
    }
    Ok(text)
}

fn one(upper: &OwnedFd, lowers: &Lowers, change: &Change, text: &mut Vec<u8>) -> Result<()> {
    let name = |side: &str, path: &Path| quoted(&Path::new(side).join(path));
    let before = change.from.as_ref().unwrap_or(&change.path);
    let (a, b) = (name("a", before), name("b", &change.path));
    let old = match change.source.as_ref().or(change.lower.as_ref()) {
        Some(lower) => below(lowers, lower)?,
        None => Side::Nothing,
    };
    let new = match change.kind {
        Kind::Removed => Side::Nothing,
        _ => above(upper, lowers, change)?,
    };
    let line = match (&old, &new) {
        (Side::Nothing, Side::Nothing) => return Ok(()),
        (Side::Nothing, Side::Text(new)) => return unified(&[], new, "/dev/null", &b, text),
        (Side::Text(old), Side::Nothing) => return unified(old, &[], &a, "/dev/null", text),
        (Side::Text(old), Side::Text(new)) => return unified(old, new, &a, &b, text),
        (Side::Nothing, Side::Other(_)) => format!("Only in b: {}", quoted(&change.path)),
        (Side::Other(_), Side::Nothing) => format!("Only in a: {}", quoted(&change.path)),
        (Side::Other(old), Side::Other(new)) if old == new => format!("Files {a} and {b} differ"),
        (Side::Other(_), _) | (_, Side::Other(_)) => {
            format!("File {a} is {} while file {b} is {}", words(&old), words(&new))
        }
        _ => format!("Binary files {a} and {b} differ"),
    };
    text.extend(line.as_bytes());
    text.push(b'\n');
    Ok(())
}

fn words(side: &Side) -> &str {
    match side {
        Side::Other(words) => words,
        _ => "a regular file",
    }
}

fn unified(old: &[u8], new: &[u8], a: &str, b: &str, text: &mut Vec<u8>) -> Result<()> {
    // diff(1) takes nothing else for the end of a line.
    let lines = |text| <[u8]>::split_inclusive(text, |byte| *byte == b'\n').collect::<Vec<_>>();
    let diff = TextDiff::configure().newline_terminated(true).diff_slices(&lines(old), &lines(new));
    let mut unified = diff.unified_diff();
    // Where a name with a space ends.
    let ended = |name: &str| if name.contains(' ') { format!("{name}\t") } else { name.to_owned() };
    unified.header(&ended(a), &ended(b)).to_writer(text).doing(|| format!("compare {a} and {b}"))
}

fn below(lowers: &Lowers, lower: &Lower) -> Result<Side> {
    if lower.stat.kind == FileKind::Symlink {
        let (dir, name) = lowers.parent(lower.file.0, &lower.file.1)?;
        return Ok(link(&target(dir.as_fd(), &name)?));
    }
    let Some((layer, path)) = &lower.content else { return Ok(other(lower.stat.kind)) };
    read(lowers.layer(*layer), path, lower.stat.size)
}

fn above(upper: &OwnedFd, lowers: &Lowers, change: &Change) -> Result<Side> {
    let stat = &change.entry.stat;
    match (stat.kind, &change.source) {
        (FileKind::Regular, Some(source)) if change.entry.marks.metacopy => below(lowers, source),
        (FileKind::Regular, _) => read(upper, &change.path, stat.size),
        (FileKind::Symlink, _) => {
            let doing = || format!("open the directory of {}", change.path.display());
            let (dir, name) = parent(upper, &change.path).doing(doing)?;
            Ok(link(&target(dir.as_fd(), &name)?))
        }
        (kind, _) => Ok(other(kind)),
    }
}

fn link(target: &[u8]) -> Side {
    Side::Other(format!("a symbolic link to {}", String::from_utf8_lossy(target)))
}

fn other(kind: FileKind) -> Side {
    Side::Other(format!("a {}", kind.name()))
}

/// Text is what has no zero byte, as diff(1) tells it.
fn read(layer: impl AsFd, path: &Path, size: u64) -> Result<Side> {
    if size > LARGEST {
        return Ok(Side::Binary);
    }
    let doing = || format!("read {}", path.display());
    let file = open_below(layer, path, OFlags::NONBLOCK).doing(doing)?;
    let mut content = Vec::new();
    File::from(file).take(LARGEST).read_to_end(&mut content).doing(doing)?;
    Ok(if content.contains(&0) { Side::Binary } else { Side::Text(content) })
}
