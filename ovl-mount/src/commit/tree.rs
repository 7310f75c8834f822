//! The directory that changes are applied to. What is in it may change meanwhile: each path is resolved below it,
//! by way of no symbolic link and no other filesystem, and used as a descriptor.

use std::{
    ffi::{CStr, CString, OsStr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use chain::{Doing, Error, Remedy, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use rustix::fs::{Mode, OFlags, fsync, mkdirat, openat, renameat};

use crate::{
    changes::{
        Stat,
        dir::{names, open_dir},
        lower::parent,
    },
    own::{changing, remove},
};

/// Where what is not in its place yet is kept: in the directory itself, so that it is on its filesystem.
pub(super) const STAGE: &CStr = c".ovl-commit";

/// A stage that has no use any more.
pub(super) const GOING: &CStr = c".ovl-commit.done";

pub(super) struct Tree {
    pub(super) root: OwnedFd,
}

/// A place in the tree: the directory, and the name in it.
pub(super) struct Spot {
    pub(super) dir: OwnedFd,
    pub(super) name: CString,
}

impl Spot {
    pub(super) fn stat(&self) -> nix::Result<Option<Stat>> {
        Stat::find(&self.dir, &self.name)
    }

    /// Removes what is there, with all that is in it.
    pub(super) fn clear(&self) -> nix::Result<()> {
        remove(self.dir.as_fd(), &self.name)
    }
}

impl Tree {
    /// The place of a path, whose directory is there.
    pub(super) fn spot(&self, path: &Path) -> Result<Spot> {
        let (dir, name) = self.parent(path).doing(|| format!("find {}", path.display()))?;
        Ok(Spot { dir, name })
    }

    fn parent(&self, path: &Path) -> nix::Result<(OwnedFd, CString)> {
        parent(&self.root, path)
    }

    /// The same, `None` if there is no such directory.
    pub(super) fn find(&self, path: &Path) -> Result<Option<Spot>> {
        match self.parent(path) {
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(None),
            found => {
                let (dir, name) = found
                    .doing(|| format!("find {}", path.display()))
                    .remedy(Errno::EXDEV, "another filesystem is mounted there")?;
                Ok(Some(Spot { dir, name }))
            }
        }
    }

    /// Keeps others from changing the directory by ovl-commit at the same time.
    pub(super) fn lock(&self) -> Result<Flock<OwnedFd>> {
        let doing = || "lock the directory".to_owned();
        let again = open_dir(&self.root, c".").doing(doing)?;
        Flock::lock(again, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| errno)
            .doing(doing)
            .remedy(Errno::EAGAIN, "another ovl-commit is at work in it")
    }

    /// The stage, made if it is missing.
    pub(super) fn stage(&self) -> Result<OwnedFd> {
        let doing = || "make .ovl-commit".to_owned();
        match changing(&self.root, || mkdirat(&self.root, STAGE, Mode::RWXU)) {
            Err(rustix::io::Errno::EXIST) => {}
            made => made.doing(doing)?,
        }
        self.existing_stage()?.ok_or(Errno::ENOENT).doing(doing)
    }

    /// The stage of a run before this, if it is there.
    pub(super) fn existing_stage(&self) -> Result<Option<OwnedFd>> {
        self.own(STAGE)
    }

    /// Fails if the name of a stage that has no use any more is that of something else.
    pub(super) fn check_going(&self) -> Result<()> {
        self.own(GOING).map(drop)
    }

    /// A directory that a run before this has made, if it is there. What it says is believed, so nobody else may have
    /// made it; and it is removed with all that is in it, so that must be known too.
    fn own(&self, name: &CStr) -> Result<Option<OwnedFd>> {
        let doing = || format!("open {}", name.to_string_lossy());
        let stage = match open_dir(&self.root, name) {
            Err(Errno::ENOENT) => return Ok(None),
            stage => stage.doing(doing)?,
        };
        let stat = Stat::of_open(&stage).doing(doing)?;
        if stat.uid != nix::unistd::geteuid().as_raw() || stat.mode & 0o022 != 0 {
            return Err(Error::new(doing(), "it is another user's, or others may write to it")
                .hint("remove it, if no ovl-commit is running"));
        }
        if let Some(other) = names(stage.as_fd()).doing(doing)?.iter().find(|name| !is_staged(name)) {
            let other = OsStr::from_bytes(other.as_bytes()).display();
            return Err(Error::new(doing(), format!("it has {other} in it, which is not of ovl-commit"))
                .hint("give the directory another name"));
        }
        Ok(Some(stage))
    }

    /// Removes the stage in one step, as far as another run can see.
    pub(super) fn unstage(&self) -> Result<()> {
        let doing = || "remove .ovl-commit".to_owned();
        remove(&self.root, GOING).doing(doing)?;
        match changing(&self.root, || renameat(&self.root, STAGE, &self.root, GOING)) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            done => {
                done.doing(doing)?;
                remove(&self.root, GOING).doing(doing)
            }
        }
    }

    /// Waits until all that was done is on the disk.
    pub(super) fn sync(&self) -> Result<()> {
        let doing = || "wait for the disk".to_owned();
        nix::unistd::syncfs(&self.root).doing(doing)
    }
}

/// Whether something of this name can be in a stage: the journal, what is made, or what is moved.
fn is_staged(name: &CStr) -> bool {
    let name = name.to_bytes();
    let is_moved = |rest: &[u8]| !rest.is_empty() && rest.iter().all(u8::is_ascii_digit);
    [JOURNAL, NEW, MADE].iter().any(|known| known.to_bytes() == name)
        || name.strip_prefix(b"move").is_some_and(is_moved)
}

/// What is to be renamed.
pub(super) const JOURNAL: &CStr = c"moves";

/// The file that is being made.
pub(super) const MADE: &CStr = c"file";

/// What is written before it gets its name.
const NEW: &CStr = c"new";

/// Writes a small file that is there as a whole or not at all, also after a crash.
pub(super) fn write_safely(dir: &OwnedFd, name: &CStr, text: &[u8]) -> Result<()> {
    let doing = || "write the journal".to_owned();
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, NEW, flags, Mode::RUSR | Mode::WUSR).doing(doing)?;
    let mut rest = text;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).doing(doing)?;
        rest = &rest[written..];
    }
    fsync(&file).doing(doing)?;
    renameat(dir, NEW, dir, name).doing(doing)?;
    fsync(dir).doing(doing)
}
