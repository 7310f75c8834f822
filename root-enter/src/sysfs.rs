//! A new sysfs, read-only. It shows the network devices of the network namespace that it is mounted from.

use std::path::Path;

use chain::{
    Error, Launch, Result,
    mount::{Filesystem, MountAttrFlags, QUIET, attach},
};
use nix::sched::CloneFlags;

use crate::root::NewRoot;

/// Settings of the machine as a whole are seen only from its first network namespace, whoever mounted this
/// /proc (net_core_table in net/core/sysctl_net_core.c). Nothing else tells: the number and the cookie of that
/// namespace differ from kernel to kernel, and process 1 may be in the same namespace or in another.
const FIRST: &str = "/proc/sys/net/core/netdev_budget";
/// Each network namespace has some, though that of another user namespace has none of the former (Linux 6.1).
const ANY: &str = "/proc/sys/net";

/// Fails if the network is the machine's, whose devices would be shown.
pub(crate) fn check(launch: &Launch) -> Result<()> {
    if launch.namespaces.contains(CloneFlags::CLONE_NEWNET) {
        return Ok(());
    }
    if !Path::new(ANY).exists() {
        return Err(Error::new("--sysfs", "/proc/sys/net is not there to tell whose network it would show")
            .hint("mount a proc on /proc"));
    }
    if Path::new(FIRST).exists() {
        return Err(Error::new("--sysfs", "it would show the network devices of the machine")
            .hint("make a network namespace: ns-enter net, or as box-run does without --allow-net"));
    }
    Ok(())
}

/// Mounts it.
pub(crate) fn mount(root: &NewRoot, place: &Path) -> Result<()> {
    let sysfs = Filesystem::new("sysfs")?.mount(QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    attach(sysfs, root.dir(place)?, place)
}
