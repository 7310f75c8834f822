//! A new time namespace. unshare(2) makes it for the children of a process only (time_namespaces(7));
//! until somebody is in it the clocks can be set, then the process joins it.

use std::fs::{self, File};

use chain::{Doing, Remedy, Result};
use nix::{
    errno::Errno,
    sched::{setns, unshare},
};

use crate::{forbidden, kind::Kind, offsets::Offsets};

/// Makes it, sets its clocks, and enters it.
pub(crate) fn make(offsets: Option<Offsets>) -> Result<()> {
    let doing = || "new time namespace".to_owned();
    unshare(Kind::Time.flag()).map_err(|errno| forbidden::error(Kind::Time, errno))?;
    if let Some(offsets) = offsets {
        set_clocks(offsets)?;
    }
    // Linux enters it with exec too, but 6.1 does not.
    let new = File::open("/proc/self/ns/time_for_children").doing(doing)?;
    setns(new, Kind::Time.flag()).doing(doing)
}

fn set_clocks(offsets: Offsets) -> Result<()> {
    let line = |clock, (seconds, nanos)| format!("{clock} {seconds} {nanos}\n");
    let text = line("monotonic", offsets.monotonic.parts()) + &line("boottime", offsets.boottime.parts());
    fs::write("/proc/self/timens_offsets", text)
        .doing(|| format!("set the clocks by {offsets}"))
        .remedy(Errno::ERANGE, "a clock would be before boot, or too far after it")
        .remedy(Errno::EPERM, "it needs CAP_SYS_TIME where the namespace is made; add user")
}
