//! Room below the caller's own group on cgroup v2: there a group either has processes or shares out
//! controllers to the groups below it (cgroups(7), "no internal processes"). So the processes of the
//! caller's own group move into a group below it, where the same limits hold, and are at home there from
//! then on.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;

use crate::limits::{DELEGATE, put};

/// Where the processes of a group go that needs room.
pub(crate) const HOME: &str = "cg-set.home";
/// How often new processes are looked for. Each that is born while others move is found by the next look.
const LOOKS: u32 = 1000;

/// The group below which the caller's groups are made, from the one that the caller is in.
pub(crate) fn own(group: PathBuf) -> PathBuf {
    match group.parent() {
        Some(above) if group.ends_with(HOME) => above.to_path_buf(),
        _ => group,
    }
}

/// Whose processes may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The caller's, and no others must be there.
    Own,
    /// Everybody's.
    All,
}

/// Moves the processes out of a group that is to share out controllers.
pub(crate) fn make(group: &Path, who: Who) -> Result<()> {
    // The group at the root may have both.
    if !group.join("cgroup.type").exists() {
        return Ok(());
    }
    let doing = || format!("make room in the group {}", group.display());
    let home = group.join(HOME);
    for _ in 0..LOOKS {
        let list = fs::read_to_string(group.join("cgroup.procs")).doing(doing)?;
        if list.is_empty() {
            return Ok(());
        }
        if let Some(pid) = list.lines().filter(|_| who == Who::Own).find(|pid| is_anothers(pid)) {
            return Err(Error::new(doing(), format!("process {pid} in it is another user's"))
                .hint("--move-self moves it too, to a group below"));
        }
        if list.lines().any(|pid| pid == "0") {
            return Err(Error::new(doing(), "it has processes of another pid namespace"));
        }
        match fs::create_dir(&home) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(error).doing(doing).remedy(Errno::EACCES, DELEGATE)?;
            }
            _ => {}
        }
        for pid in list.lines() {
            match put(&home.join("cgroup.procs"), pid) {
                // It has ended.
                Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
                moved => moved
                    .doing(|| format!("{}: move process {pid} to {HOME}", doing()))
                    .remedy(Errno::EACCES, DELEGATE)?,
            }
        }
    }
    Err(Error::new(doing(), "it gets new processes all the time"))
}

/// By the real user id (proc_pid_status(5)); one that has ended is nobody's.
fn is_anothers(pid: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t")?.split('\t').next()?.parse().ok());
    uid.is_some_and(|uid: u32| uid != nix::unistd::getuid().as_raw())
}
