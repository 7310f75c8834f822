//! Waiting for the end of processes that are not our children, and telling one from a later one.

use std::{
    fs,
    os::fd::{AsFd, OwnedFd},
};

use chain::{Doing, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// Waits until the process has ended. It need not be a child of ours.
pub(crate) fn wait_until_gone(pid: i32) -> Result<()> {
    let Some(pid) = Pid::from_raw(pid) else { return Ok(()) };
    let pidfd: OwnedFd = match pidfd_open(pid, PidfdFlags::empty()) {
        // ESRCH: it is gone; EINVAL: a thread that outlives its leader, which the next look shows.
        Err(Errno::SRCH | Errno::INVAL) => return Ok(()),
        opened => opened.doing(|| format!("wait for the end of process {pid}"))?,
    };
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::NONE).map(drop).doing(|| format!("wait for the end of process {pid}"))
}

/// When this process started, in clock ticks since boot: with its pid this names it for as long as
/// the machine is up (proc_pid_stat(5), field 22).
pub(crate) fn own_start_time() -> Result<u64> {
    let stat = fs::read_to_string("/proc/self/stat").doing(|| "read /proc/self/stat".into())?;
    // The name in parentheses may hold anything, so fields are counted from the last one: state is 3.
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    Ok(after_name.split(' ').nth(22 - 3).and_then(|field| field.parse().ok()).unwrap_or(0))
}

/// The name of a process, if it still runs.
pub(crate) fn name(pid: i32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}
