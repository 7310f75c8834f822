//! A /proc for the new pid namespace.

use std::path::Path;

use chain::{
    Doing, Result,
    mount::{attach, new_proc, open_dir},
};

/// Mounts a new proc over /proc: the old one would show, and name by wrong numbers, the processes
/// outside (pid_namespaces(7), "/proc and PID namespaces").
pub(crate) fn mount_on_proc() -> Result<()> {
    let place = Path::new("/proc");
    attach(new_proc()?, open_dir(place).doing(|| "mount a new proc on /proc".into())?, place)
}
