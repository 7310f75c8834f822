//! A new time namespace. A process enters it not with unshare(2), but when it makes a child, or with
//! exec (Linux 6.1, time_namespaces(7)); until then the clocks can be set.

use std::fs;

use chain::{Doing, Remedy, Result};
use nix::{errno::Errno, sched::unshare};

use crate::{kind::Kind, offsets::Offsets};

/// Makes it, and sets its clocks.
pub(crate) fn make(offsets: Option<Offsets>) -> Result<()> {
    unshare(Kind::Time.flag())
        .doing(|| "new time namespace".into())
        .remedy(Errno::EPERM, "run as root, or add user")
        .remedy(Errno::EINVAL, "this kernel has none; see ls /proc/self/ns")?;
    let Some(offsets) = offsets else { return Ok(()) };
    let line = |clock, (seconds, nanos)| format!("{clock} {seconds} {nanos}\n");
    let text = line("monotonic", offsets.monotonic.parts()) + &line("boottime", offsets.boottime.parts());
    fs::write("/proc/self/timens_offsets", text)
        .doing(|| format!("set the clocks by {offsets}"))
        .remedy(Errno::ERANGE, "a clock would be before boot, or too far after it")
        .remedy(Errno::EPERM, "it needs CAP_SYS_TIME where the namespace is made; add user")
}
