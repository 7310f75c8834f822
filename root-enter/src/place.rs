//! Places in the new root. Its content may be hostile: a link in it must not lead out, not even one
//! that is swapped in while we look. So every path is resolved by the kernel with the new root as
//! its root (openat2(2), RESOLVE_IN_ROOT, Linux 5.6), and what comes of it is used as a descriptor.

use std::{
    ffi::OsStr,
    os::fd::OwnedFd,
    path::{Component, Path},
};

use chain::{Doing, Remedy, Result};
use nix::errno::Errno;
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, mknodat, openat2},
    io,
};

use crate::root::NewRoot;

impl NewRoot {
    /// The directory `path` in the new root, made with all above it if it is missing.
    pub(crate) fn dir(&self, path: &Path) -> Result<OwnedFd> {
        self.reach(path, OFlags::DIRECTORY, |above, name| mkdirat(above, name, Mode::from(0o755)))
    }

    /// The file `path` in the new root, made empty if it is missing.
    pub(crate) fn file(&self, path: &Path) -> Result<OwnedFd> {
        let place = self.reach(path, OFlags::empty(), |above, name| {
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
        let advice = "the root is read-only, so the place must be in it, or use an overlay with --tmp";
        if let (Some(above), Some(Component::Normal(name))) = (path.parent(), path.components().next_back()) {
            let above = self.dir(above)?;
            match make(&above, name) {
                // Somebody was faster, or it is a link that leads nowhere: resolving it again tells.
                Ok(()) | Err(io::Errno::EXIST) => {}
                Err(errno) => return Err(errno).doing(doing).remedy(Errno::EROFS, advice),
            }
        }
        self.resolve(path, kind).doing(doing).remedy(Errno::ENOENT, "a symbolic link there leads nowhere")
    }

    fn resolve(&self, path: &Path, kind: OFlags) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | kind;
        loop {
            match openat2(self.dir_fd(), path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                // A rename or a mount elsewhere raced with `..`; the kernel asks to try again.
                Err(io::Errno::AGAIN) => {}
                done => return done,
            }
        }
    }
}
