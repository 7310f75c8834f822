//! Places in the new root. Its content may be hostile: a link in it must not lead out, not even one
//! that is swapped in while we look. So every path is resolved by the kernel with the new root as
//! its root (openat2(2), RESOLVE_IN_ROOT, Linux 5.6), and what comes of it is used as a descriptor.

use std::{
    ffi::OsStr,
    os::fd::OwnedFd,
    path::{Component, Path},
};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, mknodat, openat2},
    io,
};

use crate::root::{NewRoot, is_same};

/// What to do if a place is missing and cannot be made.
pub(crate) const READ_ONLY: &str =
    "the root is read-only, so the place must be in it, or use an overlay with --tmp";

impl NewRoot {
    /// The directory `path` in the new root, made with all above it if it is missing.
    pub(crate) fn dir(&self, path: &Path) -> Result<OwnedFd> {
        self.below(path, self.dir_or_root(path)?)
    }

    fn dir_or_root(&self, path: &Path) -> Result<OwnedFd> {
        self.reach(path, OFlags::DIRECTORY, |above, name| mkdirat(above, name, Mode::from(0o755)))
    }

    /// Fails if a place is the root itself, where a link that is in it can lead: what is meant for a place in the
    /// root would be instead of all that is in it.
    fn below(&self, path: &Path, place: OwnedFd) -> Result<OwnedFd> {
        let doing = || format!("{} in the new root", path.display());
        if is_same(&place, self.dir_fd()).doing(doing)? {
            return Err(Error::new(doing(), "a symbolic link there leads to the root itself"));
        }
        Ok(place)
    }

    /// Whether there is a directory `path` in the new root.
    pub(crate) fn has_dir(&self, path: &Path) -> Result<bool> {
        match self.resolve(path, OFlags::DIRECTORY) {
            Ok(_) => Ok(true),
            Err(io::Errno::NOENT | io::Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(errno).doing(|| format!("{} in the new root", path.display())),
        }
    }

    /// Whatever `path` is in the new root.
    pub(crate) fn existing(&self, path: &Path) -> Result<OwnedFd> {
        let place = self.resolve(path, OFlags::empty());
        self.below(path, place.doing(|| format!("{} in the new root", path.display()))?)
    }

    /// The directory above `path` in the new root, made if it is missing, and the name in it.
    pub(crate) fn above<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
        match (path.parent(), path.components().next_back()) {
            (Some(above), Some(Component::Normal(name))) => Ok((self.dir_or_root(above)?, name)),
            _ => Err(io::Errno::INVAL).doing(|| format!("{} in the new root", path.display())),
        }
    }

    /// Sets the permissions of the directory `path` in the new root.
    pub(crate) fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let doing = || format!("set the permissions of {} in the new root", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        fchmod(self.below(path, self.open(path, flags).doing(doing)?)?, Mode::from(mode))
            .doing(doing)
            .remedy(Errno::EROFS, READ_ONLY)
    }

    /// The file `path` in the new root, made empty if it is missing.
    pub(crate) fn file(&self, path: &Path) -> Result<OwnedFd> {
        self.file_with(path, OFlags::empty())
    }

    /// The same, but if it is a symbolic link, that one itself: what is mounted on it is there instead of
    /// it, wherever it leads.
    pub(crate) fn file_or_link(&self, path: &Path) -> Result<OwnedFd> {
        self.file_with(path, OFlags::NOFOLLOW)
    }

    fn file_with(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let place = self.reach(path, flags, |above, name| {
            mknodat(above, name, FileType::RegularFile, Mode::from(0o644), 0)
        })?;
        let is_dir = fstat(&place).is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_dir());
        // The kernel says EINVAL, which says nothing.
        let place = if is_dir { Err(io::Errno::ISDIR) } else { Ok(place) };
        place.doing(|| format!("{} in the new root", path.display()))
    }

    fn reach(
        &self,
        path: &Path,
        kind: OFlags,
        make: impl Fn(&OwnedFd, &OsStr) -> io::Result<()>,
    ) -> Result<OwnedFd> {
        let found = self.resolve(path, kind);
        if found.as_ref().err() != Some(&io::Errno::NOENT) {
            return found.doing(|| format!("{} in the new root", path.display()));
        }
        let doing = || format!("make {} in the new root", path.display());
        let (above, name) = self.above(path)?;
        match make(&above, name) {
            // Somebody was faster, or it is a link that leads nowhere: resolving it again tells.
            Ok(()) | Err(io::Errno::EXIST) => {}
            Err(errno) => return Err(errno).doing(doing).remedy(Errno::EROFS, READ_ONLY),
        }
        self.resolve(path, kind).doing(doing).remedy(Errno::ENOENT, "a symbolic link there leads nowhere")
    }

    fn resolve(&self, path: &Path, kind: OFlags) -> io::Result<OwnedFd> {
        self.open(path, OFlags::PATH | OFlags::CLOEXEC | kind)
    }

    fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        loop {
            match openat2(self.dir_fd(), path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                // A rename or a mount elsewhere raced with `..`; the kernel asks to try again.
                Err(io::Errno::AGAIN) => {}
                done => return done,
            }
        }
    }
}
