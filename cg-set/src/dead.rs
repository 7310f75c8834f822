//! Groups whose cg-set was killed before it could remove them: the next one does.
//!
//! A cg-set holds a lock on each directory of its group.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::Path,
};

use chain::{Doing, Error, Result};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

use crate::{
    group::{Group, has_groups},
    hierarchy::Hierarchies,
    lock::{self, Tried},
    name::{TRANSIENT, random},
};

/// A group's directory that belongs to a process which lives, or that its owner is kept from claiming.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
}

/// Claims a directory that was made just now; `None` if somebody took it for that of a dead process, and
/// it goes or is gone.
pub(crate) fn claim(dir: &Path) -> Result<Option<Claim>> {
    match lock::open(dir) {
        Err(error) if is_gone(&error) => Ok(None),
        opened => {
            let file = opened.doing(|| format!("claim the group {}", dir.display()))?;
            let is_ours = lock::lock(&file, dir)? == Tried::Ours && dir.exists();
            Ok(is_ours.then_some(Claim { _lock: file }))
        }
    }
}

/// Claims the directory of a dead process; `None` if it is that of a live one, gone, or another user's.
pub(crate) fn claim_dead(dir: &Path) -> Option<Claim> {
    let file = lock::open(dir).ok()?;
    let tried = lock::lock(&file, dir).ok()?;
    (tried != Tried::Held).then_some(Claim { _lock: file })
}

/// The second is what a file of a group is when that has been removed since it was found.
fn is_gone(error: &std::io::Error) -> bool {
    [Errno::ENOENT, Errno::ENODEV].iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// How many groups are found to be those of live ones, one after the other, before only those are tried to lock for
/// which there is no process of their owner's pid: it can be another one. It keeps a run short beside a thousand others.
const MOST_HELD: usize = 16;

/// Kills what is left in the groups of dead processes below the caller's own group, and removes them.
/// What cannot be removed stays for another, and that is said, unless it is another user's.
pub(crate) fn clear(hierarchies: &Hierarchies, ours: &Group) {
    let mut live = HashSet::new();
    for (version, own) in hierarchies.trees() {
        let our_name = ours.name_below(own);
        if !has_groups(own, usize::from(our_name.is_some())) {
            continue;
        }
        let entries = fs::read_dir(own).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let is_anothers = |name: &String| is_transient(name) && our_name.as_ref() != Some(name);
        let names: Vec<_> = names.filter(is_anothers).collect();
        // Any, and not the same ones each time.
        let first = random().unwrap_or(0) as usize % names.len().max(1);
        let mut held = 0;
        for name in names.iter().cycle().skip(first).take(names.len()) {
            if held >= MOST_HELD && (live.contains(name) || is_pid_of_any(name)) {
                live.insert(name.clone());
                continue;
            }
            let dir = own.join(name);
            let claim = claim_dead(&dir);
            held = if claim.is_some() { 0 } else { held + 1 };
            if claim.is_some() {
                let group = Group::of_dead(version, dir);
                match group.end() {
                    Err(error) if !is_for_another(&error) => chain::note("cg-set", &error.to_string()),
                    _ => {}
                }
            }
        }
    }
}

/// Whether it failed because the group is another user's, whose next cg-set ends it.
fn is_for_another(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::EACCES | Errno::EPERM | Errno::EROFS))
}

/// Whether there is a process of the pid in a group's name, as far as this pid namespace goes.
fn is_pid_of_any(name: &str) -> bool {
    let pid = name.strip_prefix(TRANSIENT).and_then(|rest| rest.split('.').next()?.parse().ok());
    pid.is_some_and(|pid| pid > 0 && kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

/// `cg-set.PID.RANDOM`, and `.N` if that was taken.
pub(crate) fn is_transient(name: &str) -> bool {
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
