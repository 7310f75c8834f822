//! What the command line says: settings such as `mem=4M cpu=1.5 pids=100`, and what to do with a
//! named group.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
};

use chain::{Error, Job, Operands, Options, Result, Tool, text};
use clap::Parser;

use crate::{CgSet, Settings, named, settings};

/// Hold a command to cgroup limits
#[derive(Debug, Parser)]
#[command(
    name = "cg-set",
    version,
    override_usage = "cg-set [OPTIONS] SETTING... [--] NEXT [ARG...]
       cg-set [OPTIONS] --name GROUP [SETTING...] [--] NEXT [ARG...]
       cg-set --name GROUP [SETTING...]
       cg-set --name GROUP --pid PID... [SETTING...]
       cg-set --name GROUP --remove [--kill]"
)]
#[command(after_help = "\
Settings: mem=SIZE    memory and swap together: 4M, 1G, 25%, max; swap=SIZE is swap besides it
          cpu=CORES   processor time: 0.5 or 50% is half a core, max; cpu.period= cpu.burst=
          pids=N      processes and threads at once: 100, max
          io.read=DEV:SIZE  bytes a second: /dev/vda:50M, 8:0:max; io.write= io.riops= io.wiops=
          mem.high= mem.low= mem.min= cpu.weight= cpu.idle= cpus= mems= io.weight= oom.group= freeze=
          CONTROLLER.FILE=VALUE, the kernel's own
Example:  cg-set mem=64M cpu=0.5 pids=32 -- make test")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// Use the group of this name, below the caller's own; it is made if it is missing, and stays
    #[arg(long, value_name = "GROUP")]
    name: Option<OsString>,
    /// Move this running process into the named group; more pids may follow
    #[arg(long = "pid", value_name = "PID", requires = "name", value_parser = clap::value_parser!(i32).range(1..))]
    pids: Vec<i32>,
    /// Remove the named group, which must have no processes
    #[arg(long, requires = "name", conflicts_with = "pids")]
    remove: bool,
    /// With --remove: kill what runs in the group first
    #[arg(long, requires = "remove")]
    kill: bool,
    /// Settings, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let with_pids = !self.pids.is_empty();
        let is_pid = |word: &OsStr| with_pids && word.as_bytes().iter().all(u8::is_ascii_digit);
        let is_setting = |word: &OsStr| is_pid(word) || word.as_bytes().contains(&b'=');
        if let Some(word) = self.words.iter().find(|word| !is_setting(word))
            && let Some(form) = word.to_str().and_then(settings::form_of)
        {
            return Err(Error::new(word.display().to_string(), "not a setting")
                .hint(format!("write {form}, or -- before a command of this name")));
        }
        let operands = Operands::split(self.words, |_, word| is_setting(word))?;
        let (more_pids, settings): (Vec<_>, Vec<_>) = operands.settings.iter().partition(|word| is_pid(word));
        let settings = Settings::parse(settings)?;
        let mut pids = self.pids;
        for pid in more_pids {
            pids.push(parse_pid(text("pid", pid)?)?);
        }

        let Some(name) = self.name else {
            if settings.is_empty() {
                return Err(Error::new("no settings", "").hint("name a limit, such as mem=64M"));
            }
            let link = CgSet::transient(settings);
            return Ok(Job::Launch {
                links: vec![Box::new(link)],
                next: operands.next,
                options: self.options,
            });
        };
        let name = GroupName::parse(&name)?;
        if !operands.next.is_empty() {
            if with_pids || self.remove {
                return Err(Error::new(
                    format!("--name {name}"),
                    "a command does not go with --pid or --remove",
                ));
            }
            let link = CgSet::named(name, settings);
            return Ok(Job::Launch {
                links: vec![Box::new(link)],
                next: operands.next,
                options: self.options,
            });
        }
        let task = match (self.remove, settings.is_empty()) {
            (true, false) => {
                return Err(Error::new(format!("--name {name}"), "--remove takes no settings"));
            }
            (true, true) => named::Task::Remove { kill: self.kill },
            (false, nothing_set) if with_pids || !nothing_set => named::Task::Change { settings, pids },
            (false, _) => named::Task::Show,
        };
        let dry_run = self.options.dry_run;
        Ok(Job::Do(Box::new(move || named::carry_out(&name, &task, dry_run))))
    }
}

fn parse_pid(word: &str) -> Result<i32> {
    word.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| Error::new(format!("--pid {word}"), "not a pid"))
}

/// The name of a group that stays, relative to the caller's own group: names with slashes between
/// them. It cannot lead out of that group, nor look like a transient group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupName(String);

/// How the names of transient groups begin.
pub(crate) const TRANSIENT: &str = "cg-set.";

impl GroupName {
    /// Checks a name as it was typed.
    pub fn parse(name: &OsStr) -> Result<Self> {
        let bad = |why: &str| Err(Error::new(format!("--name {:?}", name.display().to_string()), why));
        let Some(text) = name.to_str() else { return bad("not UTF-8") };
        if text.starts_with('/') {
            return bad("a group is named from the caller's own, not from /");
        }
        for part in text.split('/') {
            match part {
                "" => return bad("an empty name"),
                "." | ".." => return bad("a group is named without . and .."),
                _ if part.len() > 255 => return bad("a name has at most 255 bytes"),
                _ if part.starts_with(TRANSIENT) => return bad("names like this are for transient groups"),
                _ if part.chars().any(char::is_control) => return bad("a control character in a name"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as a relative path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_callers_group() {
        for name in
            ["", "/", "/a", "..", "a/..", "a/../b", "./a", "a//b", "a/", "a\nb", "cg-set.1.2", "a/cg-set.1"]
        {
            assert!(GroupName::parse(OsStr::new(name)).is_err(), "{name:?}");
        }
        for name in ["a", "a/b", "a b", "...", "ü"] {
            assert!(GroupName::parse(OsStr::new(name)).is_ok(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(value in "\\PC*") {
            let _ = GroupName::parse(OsStr::new(&value));
        }
    }
}
