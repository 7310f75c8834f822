//! Locks on groups, which the kernel opens when the process that has one is gone: for all who see the group, whatever
//! pids they see.
//!
//! It is a write lock of the open file description (fcntl(2)) on the file that whoever may run things in the
//! group may write to. A lock by flock(2) could be had by all who see the group, and so hinder its owner. So can a read
//! lock, but that is told from one of ours.

use std::{
    fs::{File, OpenOptions},
    path::Path,
};

use chain::{Doing, Result};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// What a try to lock a group gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// It is ours until the file is closed.
    Ours,
    /// Another process has it.
    Held,
    /// Nobody has it, but others keep it from being had.
    Hindered,
}

/// The file that is locked.
pub(crate) fn open(dir: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(dir.join("cgroup.procs"))
}

/// Locks the file of the group `dir`, if nobody else has.
pub(crate) fn lock(file: &File, dir: &Path) -> Result<Tried> {
    let doing = || format!("lock the group {}", dir.display());
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole(libc::F_WRLCK))) {
        Ok(_) => Ok(Tried::Ours),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            // It tells of a lock that would be in the way of a read lock: a write lock only.
            let mut other = whole(libc::F_RDLCK);
            fcntl(file, FcntlArg::F_OFD_GETLK(&mut other)).doing(doing)?;
            let is_free = i32::from(other.l_type) == libc::F_UNLCK;
            Ok(if is_free { Tried::Hindered } else { Tried::Held })
        }
        Err(errno) => Err(errno).doing(doing),
    }
}

/// A lock of the whole file.
fn whole(kind: i32) -> libc::flock {
    // SAFETY: it is a struct of numbers, all of which may be zero: from the start to the end, and no pid.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's constants are 0 to 2")]
    let kind = kind as libc::c_short;
    whole.l_type = kind;
    whole
}
