//! Groups whose cg-set was killed before it could remove them: the next one does.
//!
//! A cg-set holds a lock on the directories of its group (flock(2)), which the kernel opens when the
//! process is gone. That is so for all who see the directory, whatever pids they see.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::Path,
};

use chain::{Doing, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use crate::{group::Group, hierarchy::Hierarchies, name::TRANSIENT};

/// A group's directory that belongs to a process which lives.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: Flock<File>,
}

/// Claims a directory that was made just now; `None` if somebody took it for that of a dead process, and
/// it goes or is gone.
pub(crate) fn claim(dir: &Path) -> Result<Option<Claim>> {
    let doing = || format!("claim the group {}", dir.display());
    match lock(dir) {
        Ok(lock) if dir.exists() => Ok(Some(Claim { _lock: lock })),
        Ok(_) | Err(Errno::EWOULDBLOCK | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno).doing(doing),
    }
}

fn lock(dir: &Path) -> nix::Result<Flock<File>> {
    let dir = File::open(dir).map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    Flock::lock(dir, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
}

/// Kills what is left in the groups of dead processes below the caller's own group, and removes them.
/// What cannot be removed stays for another.
pub(crate) fn clear(hierarchies: &Hierarchies) {
    for (version, own) in hierarchies.trees().filter(|(_, own)| has_groups(own)) {
        let entries = fs::read_dir(own).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| is_transient(name)) {
            let dir = own.join(&name);
            if let Ok(_lock) = lock(&dir) {
                let group = Group::of_dead(version, dir);
                let _ = group.end();
            }
        }
    }
}

/// Whether there may be groups below one: the kernel counts them as links, besides the two of every directory
/// (kernfs_refresh_inode() in fs/kernfs/inode.c). That is one call in place of five.
fn has_groups(dir: &Path) -> bool {
    fs::metadata(dir).map_or(true, |own| own.nlink() != 2)
}

/// `cg-set.PID.RANDOM`, and `.N` if that was taken.
fn is_transient(name: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    name.strip_prefix(TRANSIENT).is_some_and(|rest| {
        let parts: Vec<_> = rest.split('.').collect();
        (2..=3).contains(&parts.len()) && parts.into_iter().all(is_number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_give_are_ours() {
        for name in ["cg-set.1.2", "cg-set.42.4242.3"] {
            assert!(is_transient(name), "{name}");
        }
        for name in
            ["cg-set.home", "cg-set.1", "cg-set.1.", "cg-set.1.2.3.4", "cg-set.a.2", "x.1.2", "cg-set.1.2x"]
        {
            assert!(!is_transient(name), "{name}");
        }
    }
}
