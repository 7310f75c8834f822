//! A /proc for the new pid namespace.

use chain::{Doing, Result};
use nix::mount::{MsFlags, mount};

/// Mounts a new proc over /proc: the old one would show, and name by wrong numbers, the processes
/// outside (pid_namespaces(7), "/proc and PID namespaces").
pub(crate) fn mount_on_proc() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let no_data: Option<&str> = None;
    mount(Some("proc"), "/proc", Some("proc"), flags, no_data).doing(|| "mount a new proc on /proc".into())
}
