//! One cg-set at a time changes a named group: a setting can take several writes, which those of another
//! must not come between.
//!
//! It is a write lock of the open file description (fcntl(2)) on the file that whoever may run things in the
//! group may write to. A lock by flock(2) could be had by all who see the group, and so hinder its owner.

use std::{
    fs::{File, OpenOptions},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain::{Doing, Error, Result};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, fcntl},
    libc,
};

/// A change takes some milliseconds, but one that lowers a memory limit waits for memory to be freed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries: who waits in the kernel could not be interrupted by a signal that is held back.
const PAUSE: Duration = Duration::from_millis(1);

/// The turn to change a group, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _locks: Vec<File>,
}

/// Waits for the turn. The directories come in the same order in all processes. Where one may change the
/// group's limits but not what runs in it, there is nothing to wait for.
pub(crate) fn take(dirs: &[PathBuf]) -> Result<Turn> {
    let end = Instant::now() + PATIENCE;
    let open = |dir: &PathBuf| {
        let file = OpenOptions::new().write(true).open(dir.join("cgroup.procs")).ok()?;
        Some((dir.clone(), file))
    };
    let locks = dirs.iter().filter_map(open).map(|(dir, file)| {
        while !lock(&file, &dir)? {
            if Instant::now() >= end {
                let why = "another process has been changing it for 10 seconds";
                return Err(Error::new(format!("change the group {}", dir.display()), why));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(file)
    });
    Ok(Turn { _locks: locks.collect::<Result<_>>()? })
}

/// Whether it is ours now.
fn lock(file: &File, dir: &Path) -> Result<bool> {
    // SAFETY: it is a struct of numbers, all of which may be zero: the whole file, and no pid.
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's constant is 1")]
    let exclusive = libc::F_WRLCK as libc::c_short;
    whole.l_type = exclusive;
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno).doing(|| format!("lock the group {}", dir.display())),
    }
}
