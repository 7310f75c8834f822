//! What the command line says: settings such as `mem=4M cpu=1.5 pids=100`, and what to do with a
//! named group.

use std::{
    ffi::{OsStr, OsString},
    mem::take,
    os::unix::ffi::OsStrExt,
};

use chain::{Error, Job, Operands, Options, Result, Tool, text};
use clap::Parser;

use crate::{
    Account, CgSet, GroupName, Joined, Settings, list,
    named::{self, Task},
    room::Who,
    settings,
};

/// Hold a command to cgroup limits
#[derive(Debug, Parser)]
#[command(
    name = "cg-set",
    version,
    override_usage = "cg-set [OPTIONS] SETTING... [--] NEXT [ARG...]
       cg-set [OPTIONS] --name GROUP [SETTING...] [--] NEXT [ARG...]
       cg-set --of PID [--] NEXT [ARG...]
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
          devices=std the usual ones alone; none, or what is added: std,+/dev/fuse:rw,+c10:*:rwm
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
    #[arg(long = "pid", value_name = "PID", requires = "name", help_heading = "Groups that stay", value_parser = pid)]
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
    /// Run NEXT in the groups that this process is in
    #[arg(long, value_name = "PID", conflicts_with_all = ["name", "parent", "move_self", "report", "stat", "list", "json"], value_parser = clap::value_parser!(u32).range(1..))]
    of: Option<u32>,
    /// Move other users' processes too that are in the way in the caller's own group (cgroup v2)
    #[arg(long)]
    move_self: bool,
}

impl Place {
    fn whose(&self) -> Who {
        if self.move_self { Who::All } else { Who::Own }
    }

    /// A named group from the caller's own on.
    fn full_name(&self) -> Option<GroupName> {
        let name = self.name.as_ref()?;
        Some(self.parent.as_ref().map_or_else(|| name.clone(), |parent| parent.join(name)))
    }
}

/// What follows the options.
struct Words {
    settings: Settings,
    pids: Vec<i32>,
    next: Vec<OsString>,
}

impl Words {
    /// After `pids` that options gave, numbers among the settings are pids too.
    fn split(words: Vec<OsString>, mut pids: Vec<i32>) -> Result<Self> {
        let with_pids = !pids.is_empty();
        let is_pid = |word: &OsStr| with_pids && word.as_bytes().iter().all(u8::is_ascii_digit);
        let is_setting = |word: &OsStr| is_pid(word) || word.as_bytes().contains(&b'=');
        if let Some(word) = words.iter().find(|word| !is_setting(word))
            && let Some(form) = word.to_str().and_then(settings::form_of)
        {
            return Err(Error::new(word.display().to_string(), "not a setting")
                .hint(format!("write {form}, or -- before a command of this name")));
        }
        let operands = Operands::split(words, |_, word| is_setting(word))?;
        let (more_pids, settings): (Vec<_>, Vec<_>) = operands.settings.iter().partition(|word| is_pid(word));
        for pid in more_pids {
            pids.push(parse_pid(text("pid", pid)?)?);
        }
        Ok(Self { settings: Settings::parse(settings)?, pids, next: operands.next })
    }
}

impl Tool for Args {
    fn job(mut self) -> Result<Job> {
        let words = Words::split(take(&mut self.words), take(&mut self.pids))?;
        if let Some(pid) = self.place.of {
            if let Some(word) = words.settings.words().first() {
                return Err(Error::new(word.display().to_string(), "with --of nothing is set"));
            }
            let links: chain::Links = vec![Box::new(Joined::new(pid))];
            return Ok(Job::Launch { links, next: words.next, options: self.options });
        }
        self.check(&words)?;
        let name = self.place.full_name();
        if words.next.is_empty() && self.list {
            let top = name.or(self.place.parent);
            let wish = list::Wish { json: self.json, watch: self.watch };
            return Ok(Job::Do(Box::new(move || named::list(top.as_ref(), wish))));
        }
        let whose = self.place.whose();
        match name {
            Some(name) if words.next.is_empty() => {
                let task = if self.remove {
                    Task::Remove { kill: self.kill }
                } else if words.settings.is_empty() && words.pids.is_empty() {
                    Task::Show { json: self.json }
                } else {
                    Task::Change { settings: words.settings, pids: words.pids }
                };
                let dry_run = self.options.dry_run;
                Ok(Job::Do(Box::new(move || named::carry_out(&name, &task, whose, dry_run))))
            }
            name => {
                let link = match name {
                    Some(name) => CgSet::named(name, words.settings),
                    None => CgSet::transient(words.settings).below(self.place.parent),
                };
                let link = link.moving(whose).told(self.account);
                Ok(Job::Launch { links: vec![Box::new(link)], next: words.next, options: self.options })
            }
        }
    }
}

impl Args {
    /// Which options go with which words.
    fn check(&self, words: &Words) -> Result<()> {
        let given = |options: &[(bool, &'static str)]| {
            options.iter().find(|(given, _)| *given).map(|(_, name)| *name)
        };
        let shows = [(self.remove, "--remove"), (self.list, "--list"), (self.json, "--json")];
        if !words.next.is_empty()
            && let Some(option) = given(&shows).or_else(|| given(&[(!words.pids.is_empty(), "--pid")]))
        {
            return Err(Error::new(option, "this does not go with a command"));
        }
        if !words.settings.is_empty()
            && let Some(option) = given(&shows)
        {
            return Err(Error::new(option, "this takes no settings"));
        }
        if self.list {
            let without_use =
                [(self.place.move_self, "--move-self"), (!self.options.keep_fds.is_empty(), "--keep-fd")];
            if let Some(option) = given(&without_use) {
                return Err(Error::new(option, "this does not go with --list"));
            }
        }
        let is_for_command = self.place.name.is_none() && !self.list;
        if self.json && is_for_command {
            return Err(
                Error::new("--json", "nothing to show").hint("add --list, or name a group with --name")
            );
        }
        if is_for_command && words.settings.is_empty() && !self.account.is_wanted() {
            return Err(Error::new("no settings", "").hint("name a limit, such as mem=64M, or --stat"));
        }
        if !is_for_command && words.next.is_empty() && self.account.is_wanted() {
            return Err(Error::new("--report, --stat", "no command to tell of").hint("name one after --"));
        }
        Ok(())
    }
}

fn pid(text: &str) -> Result<i32, &'static str> {
    text.parse().ok().filter(|pid| *pid > 0).ok_or("not a pid")
}

fn parse_pid(word: &str) -> Result<i32> {
    pid(word).map_err(|why| Error::new(format!("--pid {word}"), why))
}
