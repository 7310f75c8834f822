//! The directory that is said to be an upper one, and what is taken for one by mistake.

use std::{
    ffi::{CStr, CString, OsStr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use chain::{Doing, Error, Result};
use nix::errno::Errno;

use super::{
    Prefix,
    dir::{names, open_dir, root},
    file::{Kind, Stat},
};
use crate::in_use::PROBE;

/// Opens an upper directory, which is `what` in errors, and says which prefix its marks have.
pub fn upper(path: &Path, what: &str, userxattr: bool) -> Result<(OwnedFd, Prefix)> {
    let dir = root(path, what)?;
    let shown = || format!("{what} {}", path.display());
    let wrong = |why: &str, hint: String| Err(Error::new(shown(), why).hint(hint));
    match Mistake::find(dir.as_fd()).doing(shown)? {
        None => {}
        Some(Mistake::Work) => {
            return wrong(
                "it is a work directory, which has no changes",
                "name the upper directory beside it".into(),
            );
        }
        Some(Mistake::OfOneMount) => {
            return wrong(
                "it is of --whole, and has a work directory too",
                format!("name {}", path.join("upper").display()),
            );
        }
        Some(Mistake::Whole { first, are_more }) => {
            let first = path.join(OsStr::from_bytes(first.to_bytes())).join("upper");
            let (one_of, more) = if are_more { ("one of ", ", ...") } else { ("", "") };
            let hint = format!("name {one_of}{}{more}", first.display());
            return wrong("it is of --whole, which keeps the changes of each mount apart", hint);
        }
    }
    let prefix = Prefix::of(dir.as_fd(), path, userxattr)?;
    Ok((dir, prefix))
}

/// What lies near an upper directory.
enum Mistake {
    /// Its work directory.
    Work,
    /// What `--whole` makes for one mount, with both in it.
    OfOneMount,
    /// What all of these are in.
    Whole { first: CString, are_more: bool },
}

impl Mistake {
    fn find(dir: BorrowedFd) -> nix::Result<Option<Self>> {
        let names = names(dir)?;
        let is_of_whole = |name: &CString| name.to_bytes().starts_with(b"@");
        if is_work(dir, &names)? {
            return Ok(Some(Self::Work));
        }
        if is_of_one_mount(dir, &names)? {
            return Ok(Some(Self::OfOneMount));
        }
        let Some(first) = names.first() else { return Ok(None) };
        if !names.iter().all(is_of_whole) {
            return Ok(None);
        }
        for name in &names {
            if Stat::of(dir, name)?.kind != Kind::Directory {
                return Ok(None);
            }
            let inner = open_dir(dir, name)?;
            if !is_of_one_mount(inner.as_fd(), &self::names(inner.as_fd())?)? {
                return Ok(None);
            }
        }
        Ok(Some(Self::Whole { first: first.clone(), are_more: names.len() > 1 }))
    }
}

/// Whether there is what the kernel leaves in a work directory, and nothing else: the directory in which it works has
/// no permissions at all (`ovl_workdir_create()` in fs/overlayfs/super.c), which few others have.
fn is_work(dir: BorrowedFd, names: &[CString]) -> nix::Result<bool> {
    const WORK: &CStr = c"work";
    let is_left = |name: &CString| {
        [c"work", c"index"].contains(&name.as_c_str()) || name.to_bytes().starts_with(PROBE.as_bytes())
    };
    if !names.iter().all(is_left) {
        return Ok(false);
    }
    Ok(Stat::find(dir, WORK)?.is_some_and(|stat| stat.kind == Kind::Directory && stat.mode == 0))
}

/// Whether there are an upper and a work directory, and nothing else.
fn is_of_one_mount(dir: BorrowedFd, names: &[CString]) -> nix::Result<bool> {
    if names != [c"upper", c"work"] || Stat::of(dir, c"upper")?.kind != Kind::Directory {
        return Ok(false);
    }
    match open_dir(dir, c"work") {
        Err(Errno::ENOTDIR | Errno::EACCES) => Ok(false),
        work => {
            let work = work?;
            is_work(work.as_fd(), &self::names(work.as_fd())?)
        }
    }
}
