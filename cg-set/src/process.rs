//! Processes that are not our children: ending them, and telling one from a later one.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use chain::{Doing, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

/// A process that stays the same one when its pid is given again.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    fd: OwnedFd,
}

impl Process {
    /// The process, if it is there.
    pub(crate) fn open(pid: i32) -> Result<Option<Self>> {
        let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
        match pidfd_open(number, PidfdFlags::empty()) {
            // Gone, or a thread that outlives its leader, which the next look shows.
            Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Ok(None),
            opened => {
                let fd = opened.doing(|| format!("open process {pid}"))?;
                Ok(Some(Self { pid, fd }))
            }
        }
    }

    /// Sends it `SIGKILL`; `false` if it is another user's.
    pub(crate) fn kill(&self) -> Result<bool> {
        match pidfd_send_signal(&self.fd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(true),
            Err(Errno::PERM) => Ok(false),
            Err(errno) => Err(errno).doing(|| format!("kill process {}", self.pid)),
        }
    }

    /// Waits until it has ended, or until `end`.
    pub(crate) fn wait(&self, end: Instant) -> Result<()> {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Err(nix::errno::Errno::EINTR) => Ok(()),
            polled => polled.map(drop).doing(|| format!("wait for the end of process {}", self.pid)),
        }
    }
}

/// Fails if there is no such process.
pub(crate) fn check(pid: i32) -> Result<()> {
    match Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        None | Some(Err(Errno::SRCH)) => Err(Errno::SRCH)
            .doing(|| format!("move process {pid} into the group"))
            .map_err(|error| error.hint("it has ended")),
        // Any other failure, such as that of a thread's number, is left to the move.
        Some(_) => Ok(()),
    }
}

/// The name of a process, if it still runs.
pub(crate) fn name(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

/// Whether a process is gone, or is a zombie (proc_pid_stat(5), `state`).
pub(crate) fn has_ended(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X' | 'x'))
}
