//! `oom.group` on cgroup v1, which has none: an event of the kernel says that memory ran out, and when that
//! killed somebody in the group all others in it are killed too.

use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain::{Doing, Remedy, Result};
use nix::errno::Errno;
use rustix::event::{EventfdFlags, eventfd};

use crate::{
    group::Group,
    limits::{put, sum},
    v1,
};

/// How long after the event a kill is looked for: it comes when the kernel has chosen whom.
const PATIENCE: Duration = Duration::from_secs(1);

/// The event (Documentation/admin-guide/cgroup-v1/memory.rst of the kernel, "OOM Control").
#[derive(Debug)]
pub(crate) struct Alarm {
    event: OwnedFd,
    dir: PathBuf,
    kills_before: u64,
}

impl Alarm {
    /// Asks for it; `None` if the group is not in the tree.
    pub(crate) fn set(group: &Group) -> Result<Option<Self>> {
        let Some((_, dir)) = group.place("memory") else { return Ok(None) };
        let doing = || "ask to be told when memory runs out".to_owned();
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).doing(doing)?;
        let control = File::open(dir.join("memory.oom_control")).doing(doing)?;
        let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
        put(&dir.join("cgroup.event_control"), &line)
            .doing(doing)
            .remedy(Errno::ENOENT, "this kernel does not tell")?;
        let kills_before = kills(dir);
        Ok(Some(Self { event, dir: dir.into(), kills_before }))
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Whether somebody in the group was killed. The event comes as well if it was the limit of a group above,
    /// for which one may die that is not in this.
    pub(crate) fn is_ours(&self) -> bool {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.event, &mut count);
        let end = Instant::now() + PATIENCE;
        while kills(&self.dir) <= self.kills_before {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

/// Of the group and those below it: on v1 a kill is counted only where the victim is.
fn kills(dir: &Path) -> u64 {
    sum(dir, v1::kills).unwrap_or(0)
}
