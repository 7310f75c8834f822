//! What an ordinary user can do with their own files only after they have let themselves: to change what is in a
//! directory to which they may not write. Root needs no permission.

use std::{
    ffi::{CStr, OsStr},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use chain::errno;
use nix::{errno::Errno, unistd::geteuid};
use rustix::fs::{AtFlags, Mode, OFlags, chmod, fchmod, openat, unlinkat};

use crate::changes::{Stat, dir::names, lower::open_below};

/// Changes something in an open directory, which its owner may write to for that moment.
pub(crate) fn changing<T>(
    dir: impl AsFd,
    change: impl Fn() -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    let done = change();
    if !matches!(done, Err(rustix::io::Errno::ACCESS)) {
        return done;
    }
    let Ok(stat) = Stat::of_open(&dir) else { return done };
    if stat.uid != geteuid().as_raw() || stat.mode & 0o300 == 0o300 {
        return done;
    }
    let mode = |bits: u32| Mode::from_bits_truncate(bits);
    fchmod(&dir, mode(stat.mode | 0o300))?;
    let done = change();
    fchmod(&dir, mode(stat.mode))?;
    done
}

/// Lets the owner of a file read it, write to it, and go into it if it is a directory.
pub(crate) fn open_up(dir: impl AsFd, name: &CStr) -> nix::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty()).map_err(errno)?;
    let stat = Stat::of_open(&file)?;
    if stat.uid != geteuid().as_raw() {
        return Err(Errno::EACCES);
    }
    // chmod(2) follows the link in /proc to what is open, and no other.
    chmod(format!("/proc/self/fd/{}", file.as_raw_fd()), Mode::from_bits_truncate(stat.mode | 0o700))
        .map_err(errno)
}

/// Removes a file, or a directory with all that is in it; it need not be there.
pub(crate) fn remove(dir: impl AsFd, name: &CStr) -> nix::Result<()> {
    let dir = dir.as_fd();
    let refused = match changing(dir, || unlinkat(dir, name, AtFlags::empty())).map_err(errno) {
        Err(refused @ (Errno::EISDIR | Errno::EPERM)) => refused,
        Err(Errno::ENOENT) => return Ok(()),
        done => return done,
    };
    // Not what is mounted there.
    let open = || -> nix::Result<OwnedFd> {
        open_below(dir, Path::new(OsStr::from_bytes(name.to_bytes())), OFlags::DIRECTORY)
    };
    let inner = match open() {
        Err(Errno::EACCES) => {
            open_up(dir, name)?;
            open()?
        }
        // A file that nobody may remove (FS_IOC_SETFLAGS of ioctl_iflags(2)).
        Err(Errno::ENOTDIR | Errno::ELOOP) => return Err(refused),
        inner => inner?,
    };
    for name in names(inner.as_fd())? {
        remove(&inner, &name)?;
    }
    changing(dir, || unlinkat(dir, name, AtFlags::REMOVEDIR)).map_err(errno)
}
