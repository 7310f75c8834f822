//! What the command line says: settings such as `mem=4M cpu=1.5 pids=100`, and what to do with a
//! named group.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
};

use chain::{Error, Job, Operands, Options, Result, Tool, text};
use clap::{
    Parser,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::{Account, CgSet, Settings, list, named, room::Who, settings};

/// Hold a command to cgroup limits
#[derive(Debug, Parser)]
#[command(
    name = "cg-set",
    version,
    override_usage = "cg-set [OPTIONS] SETTING... [--] NEXT [ARG...]
       cg-set [OPTIONS] --name GROUP [SETTING...] [--] NEXT [ARG...]
       cg-set --name GROUP [SETTING... | --json]
       cg-set --name GROUP --pid PID... [SETTING...]
       cg-set --name GROUP --remove [--kill]
       cg-set --list [--name GROUP] [--watch] [--json]"
)]
#[command(after_help = "\
Settings: mem=SIZE    memory and swap together: 4M, 1G, 25%, max; swap=SIZE is swap besides it
          cpu=CORES   processor time: 0.5 or 50% is half a core, max; cpu.period= cpu.burst=
          pids=N      processes and threads at once: 100, max
          io.read=DEV:SIZE  bytes a second: /dev/vda:50M, 8:0:max; io.write= io.riops= io.wiops=
          mem.high= mem.low= mem.min= cpu.weight= cpu.idle= cpus= mems= io.weight= oom.group= freeze=
          hugetlb.2MB=SIZE rdma=ADAPTER:hca_handle=N,hca_object=N misc=RESOURCE:N
          CONTROLLER.FILE=VALUE, the kernel's own
Example:  cg-set mem=64M cpu=0.5 pids=32 -- make test")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    place: Place,
    /// Move this running process into the named group; more pids may follow
    #[arg(long = "pid", value_name = "PID", requires = "name", help_heading = "Groups that stay", value_parser = clap::value_parser!(i32).range(1..))]
    pids: Vec<i32>,
    /// Remove the named group, which must have no processes
    #[arg(long, requires = "name", conflicts_with_all = ["pids", "list"], help_heading = "Groups that stay")]
    remove: bool,
    /// With --remove: kill what runs in the group first
    #[arg(long, requires = "remove", help_heading = "Groups that stay")]
    kill: bool,
    /// List the groups below the caller's own, or below the named one, with what they use
    #[arg(long, conflicts_with_all = ["pids", "dry_run"], help_heading = "Showing groups")]
    list: bool,
    /// With --list: again each second, until it is interrupted
    #[arg(long, requires = "list", help_heading = "Showing groups")]
    watch: bool,
    /// Show the named group, or the list, as JSON
    #[arg(long, conflicts_with_all = ["remove", "pids"], help_heading = "Showing groups")]
    json: bool,
    #[command(flatten)]
    account: Account,
    /// Settings, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

/// Where the group is.
#[derive(Debug, clap::Args)]
struct Place {
    /// Use the group of this name, below the caller's own; it is made if it is missing, and stays
    #[arg(long, value_name = "GROUP", value_parser = GroupName::parser("--name"), help_heading = "Groups that stay")]
    name: Option<GroupName>,
    /// Make the group below this one, which is there and stays, not below the caller's own
    #[arg(long, value_name = "GROUP", value_parser = GroupName::parser("--parent"))]
    parent: Option<GroupName>,
    /// Move other users' processes too that are in the way in the caller's own group (cgroup v2)
    #[arg(long)]
    move_self: bool,
}

impl Place {
    fn own(&self) -> Who {
        if self.move_self { Who::All } else { Who::Own }
    }
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
        let who = self.place.own();
        let name = match (self.place.name, &self.place.parent) {
            (Some(name), Some(parent)) => Some(parent.join(&name)),
            (name, _) => name,
        };

        if !operands.next.is_empty() {
            let alone = [
                (with_pids, "--pid"),
                (self.remove, "--remove"),
                (self.list, "--list"),
                (self.json, "--json"),
            ];
            if let Some((_, option)) = alone.into_iter().find(|(given, _)| *given) {
                return Err(Error::new(option, "this does not go with a command"));
            }
            if name.is_none() && settings.is_empty() && !self.account.is_wanted() {
                return Err(nothing_set());
            }
            let link = match name {
                Some(name) => CgSet::named(name, settings),
                None => CgSet::transient(settings).below(self.place.parent),
            };
            return Ok(Job::Launch {
                links: vec![Box::new(link.moving(who).told(self.account))],
                next: operands.next,
                options: self.options,
            });
        }
        if self.account.is_wanted() {
            return Err(Error::new("--report, --stat", "no command to tell of").hint("name one after --"));
        }
        let task = if self.list {
            if !settings.is_empty() {
                return Err(Error::new("--list", "this takes no settings"));
            }
            let name = name.or(self.place.parent);
            let wish = list::Wish { json: self.json, watch: self.watch };
            return Ok(Job::Do(Box::new(move || named::list(name.as_ref(), wish))));
        } else if self.remove {
            named::Task::Remove { kill: self.kill }
        } else if with_pids || !settings.is_empty() && name.is_some() {
            named::Task::Change { settings: settings.clone(), pids }
        } else {
            named::Task::Show { json: self.json }
        };
        let Some(name) = name else {
            // As for every other tool, if only the command is missing.
            let next = operands.next;
            if settings.is_empty() {
                return Err(nothing_set());
            }
            return Ok(Job::Launch {
                links: vec![Box::new(CgSet::transient(settings))],
                next,
                options: self.options,
            });
        };
        if !settings.is_empty() && (self.remove || self.json) {
            let option = if self.remove { "--remove" } else { "--json" };
            return Err(Error::new(option, "this takes no settings"));
        }
        let dry_run = self.options.dry_run;
        Ok(Job::Do(Box::new(move || named::carry_out(&name, &task, who, dry_run))))
    }
}

fn nothing_set() -> Error {
    Error::new("no settings", "").hint("name a limit, such as mem=64M")
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
        Self::given_with("--name", name)
    }

    fn parser(option: &'static str) -> impl TypedValueParser<Value = Self> {
        OsStringValueParser::new()
            .try_map(move |name: OsString| Self::given_with(option, &name).map_err(|error| error.reason()))
    }

    fn given_with(option: &str, name: &OsStr) -> Result<Self> {
        let bad = |why: &str| Err(Error::new(format!("{option} {:?}", name.display().to_string()), why));
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

    /// The group of this name below another.
    fn join(&self, below: &Self) -> Self {
        Self(format!("{self}/{below}"))
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
