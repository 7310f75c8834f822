//! A new proc, in which what is the machine's is hidden or read-only, as container runtimes do.

use std::{os::fd::OwnedFd, path::Path};

use chain::{
    Doing, Remedy, Result,
    mount::{attach, attach_below, copy_below, make_read_only, new_proc},
};
use nix::errno::Errno;
use rustix::fs::{AtFlags, statat};

use crate::root::NewRoot;

/// What tells of the machine and of other boxes: the list that runc and podman mask by default.
const HIDDEN_FILES: [&str; 7] =
    ["interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats"];
const HIDDEN_DIRS: [&str; 4] = ["acpi", "asound", "firmware", "scsi"];

/// What changes the machine, by the same list.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// A proc is of a pid namespace, and who may mount it is who made that. In a user namespace the kernel also wants one
/// to be mounted already in which nothing is hidden (`mount_too_revealing()` in fs/namespace.c).
const NO_PROC: &str =
    "add pid: ns-enter user,mnt,pid --, or --no-proc; in a box, its own /proc must be whole";

/// Mounts it as the kernel makes it.
pub(crate) fn mount_full(root: &NewRoot, place: &Path) -> Result<OwnedFd> {
    let proc = new_proc().remedy(Errno::EPERM, NO_PROC)?;
    attach(&proc, root.dir(place)?, place)?;
    Ok(proc)
}

/// Mounts it without what is the machine's. That a name is there is asked first, because to give up a mount that
/// was made in vain takes longer than all the rest.
pub(crate) fn mount_masked(root: &NewRoot, place: &Path) -> Result<()> {
    let memory = root.memory()?;
    let proc = mount_full(root, place)?;
    let is_there = |name: &&&str| statat(&proc, **name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
    let hide =
        |name: &str, empty: OwnedFd| attach_below(empty, &proc, name).doing(|| format!("hide /proc/{name}"));
    HIDDEN_FILES.iter().filter(is_there).try_for_each(|name| hide(name, memory.empty_file()?))?;
    HIDDEN_DIRS.iter().filter(is_there).try_for_each(|name| hide(name, memory.empty_dir()?))?;
    for name in READ_ONLY.iter().filter(is_there) {
        let doing = || format!("make /proc/{name} read-only");
        let copy = copy_below(&proc, name, false).doing(doing)?;
        make_read_only(&copy, false)?;
        attach_below(copy, &proc, name).doing(doing)?;
    }
    Ok(())
}
