//! The end of all that is in a group.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use chain::{Error, Result};
use nix::errno::Errno;

use crate::{
    group::{FREEZER, FREEZER_STATE, Group, tree},
    hierarchy::Version,
    limits::{put, read_text},
    process::Process,
};

/// How long the end of what was killed is waited for.
pub(crate) const KILL_TIME: Duration = Duration::from_secs(5);
/// How long a group may need to be stopped.
const FREEZE_TIME: Duration = Duration::from_secs(1);

impl Group {
    /// Kills everything in the group and in the groups below it, and waits until it is gone.
    pub(crate) fn kill_all(&self) -> Result<()> {
        // Linux 5.14. At once, so that nothing can fork away from it; what follows only waits.
        let braked = self.v2().is_some_and(|dir| put(&dir.join("cgroup.kill"), "1").is_ok());
        // Where nothing else keeps it from forking. Who kills us now leaves the limit at 0.
        let is_held = braked || self.freezer().is_some();
        let pids = self.place("pids").filter(|_| !is_held && self.occupied().is_some());
        let limit = pids.and_then(|(_, dir)| Some((dir.join("pids.max"), read_text(dir, "pids.max")?)));
        if let Some((file, _)) = &limit {
            let _ = put(file, "0");
        }
        let killed = self.kill_all_found(braked);
        // The group may stay.
        if let Some((file, limit)) = limit {
            let _ = put(&file, &limit);
        }
        killed
    }

    /// The directory by which a group of v1 can be stopped.
    fn freezer(&self) -> Option<&Path> {
        self.place(FREEZER).filter(|(version, _)| *version == Version::V1).map(|(_, dir)| dir)
    }

    fn kill_all_found(&self, braked: bool) -> Result<()> {
        let freezer = self.freezer();
        let end = Instant::now() + KILL_TIME;
        loop {
            if let Some(dir) = freezer.filter(|_| !braked) {
                freeze(dir);
            }
            let found = self.kill_found(end, braked);
            // What was stopped, by us or before, dies only when it goes on.
            if let Some(dir) = freezer {
                thaw(dir);
            }
            let Some(killed) = found? else { return Ok(()) };
            for process in &killed {
                process.wait(end)?;
            }
            if killed.is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Sends SIGKILL to all that are in the group and below; `None` if nobody is.
    fn kill_found(&self, end: Instant, braked: bool) -> Result<Option<Vec<Process>>> {
        let pids = self.processes_below();
        let Some(&first) = pids.first() else { return Ok(None) };
        let failed = |why: String| {
            Error::new("kill what is left in the group", why).hint(format!("the group {self} stays"))
        };
        if first == 0 {
            return Err(failed("it has processes of another pid namespace".into()));
        }
        if Instant::now() >= end {
            return Err(failed(format!("process {first} does not end")));
        }
        let mut others = None;
        let mut killed = Vec::new();
        let mut left = pids.as_slice();
        while !left.is_empty() {
            // Those of the batch before have SIGKILL: one batch is enough to wait for, as a new look follows.
            drop(killed);
            (killed, left) = open_some(left)?;
            // A pid that was given again before it was opened is not in the group now.
            let still = self.processes_below();
            killed.retain(|process| still.binary_search(&process.pid).is_ok());
            for process in &killed {
                if !process.kill()? {
                    others = Some(process.pid);
                }
            }
        }
        // What the brake has killed only needs its time.
        match others.filter(|_| !braked) {
            Some(pid) => Err(failed(format!("process {pid} is another user's"))),
            None => Ok(Some(killed)),
        }
    }
}

/// Opens the first of some processes, as many as there are descriptors for, and says which are left.
fn open_some(pids: &[i32]) -> Result<(Vec<Process>, &[i32])> {
    let mut opened = Vec::<Process>::new();
    for pid in pids {
        match Process::open(*pid) {
            Err(error) if matches!(error.errno(), Some(Errno::EMFILE | Errno::ENFILE)) => {
                // The next look at the group needs one.
                let Some(last) = opened.pop().filter(|_| !opened.is_empty()) else { return Err(error) };
                let first_left = pids.partition_point(|pid| *pid < last.pid);
                return Ok((opened, &pids[first_left..]));
            }
            found => opened.extend(found?),
        }
    }
    Ok((opened, &[]))
}

/// Stops a group of v1, so that nothing in it can fork away from who kills it. The kernel does so step by step,
/// each time when it is asked (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst). What cannot be stopped
/// in that time is killed as it is.
fn freeze(dir: &Path) {
    let state = dir.join(FREEZER_STATE);
    let end = Instant::now() + FREEZE_TIME;
    let _ = put(&state, "FROZEN");
    while fs::read_to_string(&state).is_ok_and(|now| now == "FREEZING\n") && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
        let _ = put(&state, "FROZEN");
    }
}

/// Lets a group of v1 and those below it go on.
fn thaw(dir: &Path) {
    for dir in tree(dir) {
        let _ = put(&dir.join(FREEZER_STATE), "THAWED");
    }
}
