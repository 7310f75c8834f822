//! A /proc for the new pid namespace.

use std::path::Path;

use chain::{
    Doing, Remedy, Result,
    mount::{attach, new_proc, open_dir},
};
use nix::errno::Errno;

/// Mounts a new proc on a directory. The one on /proc would show, and name by wrong numbers, the
/// processes outside (pid_namespaces(7), "/proc and PID namespaces").
pub(crate) fn mount_on(place: &Path) -> Result<()> {
    let doing = || format!("mount a new proc on {}", place.display());
    let proc = new_proc().remedy(
        Errno::EPERM,
        "the pid namespace must be of the user namespace, and no part of /proc hidden here",
    )?;
    attach(proc, open_dir(place).doing(doing)?, place)
}
