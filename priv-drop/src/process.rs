//! What else NEXT has of a process: its priority, what the kernel thinks of it when memory is short, and
//! its session.

use std::{fs::OpenOptions, io::Write, str::FromStr};

use chain::{Doing, Error, Remedy, Result};
use nix::{
    errno::Errno,
    sys::{
        prctl::{get_dumpable, set_dumpable},
        statfs::{PROC_SUPER_MAGIC, fstatfs},
    },
    unistd::{getpgrp, getpid, setsid},
};
use rustix::process::{getpriority_process, setpriority_process};

use crate::Settings;

/// The nice value, −20 to 19: a high one leaves the processors to others (setpriority(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nice(pub i8);

impl FromStr for Nice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = text.parse().ok().filter(|value| (-20..=19).contains(value));
        value.map(Self).ok_or("not a nice value; write a number from -20 to 19")
    }
}

/// What is added to the process's badness when memory is short, −1000 (never killed) to 1000 (killed
/// first) (proc_pid_oom_score_adj(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OomScoreAdj(pub i16);

impl FromStr for OomScoreAdj {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = text.parse().ok().filter(|value| (-1000..=1000).contains(value));
        value.map(Self).ok_or("not an oom_score_adj; write a number from -1000 to 1000")
    }
}

/// Whether this process leads its process group, as one does that a shell with job control started.
pub(crate) fn leads_a_group() -> bool {
    getpgrp() == getpid()
}

/// Sets what is asked for of all these.
pub(crate) fn set_all(settings: &Settings) -> Result<()> {
    if let Some(Nice(value)) = settings.nice {
        setpriority_process(None, value.into()).doing(|| format!("nice {value}")).map_err(|error| {
            let own = getpriority_process(None).unwrap_or_default();
            let hint = format!("the caller's is {own}, and only root may lower it; take {own} or more");
            error.hint(hint)
        })?;
    }
    if let Some(value) = settings.oom {
        set_oom_score_adj(value)?;
    }
    if settings.new_session {
        setsid().doing(|| "new session".into())?;
    }
    Ok(())
}

/// Writes it where the kernel takes it; a root without /proc, or with something else there, has no such place.
fn set_oom_score_adj(OomScoreAdj(value): OomScoreAdj) -> Result<()> {
    let doing = || format!("oom_score_adj {value}");
    let mut file = as_owner_of_proc(|| OpenOptions::new().write(true).open("/proc/self/oom_score_adj"))?
        .doing(doing)
        .remedy(Errno::ENOENT, "the root has no /proc")?;
    if fstatfs(&file).doing(doing)?.filesystem_type() != PROC_SUPER_MAGIC {
        return Err(Error::new(doing(), "/proc is no proc filesystem"));
    }
    // In one piece, as the kernel reads each write for itself.
    file.write_all(value.to_string().as_bytes()).doing(doing).remedy(Errno::EACCES, "only root may lower it")
}

/// Does it while the files of this process in /proc are its own. They are root's of the first user namespace while it
/// is not dumpable (proc(5)), as the child of a box's process 1 is, so an ordinary user could write none of them.
fn as_owner_of_proc<T>(open: impl FnOnce() -> T) -> Result<T> {
    let doing = || "keep others out".to_owned();
    if get_dumpable().doing(doing)? {
        return Ok(open());
    }
    set_dumpable(true).doing(doing)?;
    let opened = open();
    set_dumpable(false).doing(doing)?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bounds_are_kept() {
        assert!("-20".parse::<Nice>().is_ok() && "20".parse::<Nice>().is_err());
        assert!("-1000".parse::<OomScoreAdj>().is_ok() && "1001".parse::<OomScoreAdj>().is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC*") {
            let _ = (text.parse::<Nice>(), text.parse::<OomScoreAdj>());
        }
    }
}
