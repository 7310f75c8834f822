//! What the command line says.

use std::ffi::OsString;

use chain::{Error, Job, Operands, Options, Result, Tool};
use clap::Parser;

use crate::{
    Details, Namespaces, NsEnter, details,
    list::{self, Wish},
};

/// Make or join namespaces, then run a command in them
#[derive(Debug, Parser)]
#[command(
    name = "ns-enter",
    version,
    override_usage = "ns-enter [OPTIONS] NAMESPACE[,...] [--] NEXT [ARG...]
       ns-enter --list [PID] [--json]
       ns-enter --tree"
)]
#[command(after_help = "\
Namespaces: uts[=HOSTNAME] pid mnt net ipc cgroup user[=MAP] time[=OFFSET]   new ones
            KIND@PID, KIND@FILE       that of a process, or kept on a file
            all, all@PID              every kind, or those in which the process differs
Maps:       an id for the caller, 0 if none is given; INSIDE:OUTSIDE:COUNT[+...]; auto; none
Offsets:    +1h, -30m, or MONOTONIC:BOOTTIME
Example:    ns-enter user,uts=web,pid,mnt,net -- sh")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    details: Details,
    /// Show every namespace on the machine, or those of one process
    #[arg(long, value_name = "PID", value_parser = details::pid)]
    #[expect(clippy::option_option, reason = "how clap says that the value may be left out")]
    list: Option<Option<u32>>,
    /// With --list: as JSON
    #[arg(long, requires = "list")]
    json: bool,
    /// Draw how user and pid namespaces are nested
    #[arg(long, conflicts_with_all = ["list", "json", "dry_run"])]
    tree: bool,
    /// Namespaces, separated by commas, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(mut self) -> Result<Job> {
        let shows = if self.tree { Some("--tree") } else { self.list.map(|_| "--list") };
        if let (Some(None), Some(pid)) = (self.list, self.words.first().and_then(|word| word.to_str()))
            && let Ok(pid) = details::pid(pid)
        {
            // After another option.
            (self.list, self.words) = (Some(Some(pid)), self.words.split_off(1));
        }
        if self.options.dry_run
            && let Some(option) = shows
        {
            return Err(Error::new(format!("-n {option}"), "it only shows, so there is nothing to tell"));
        }
        if let (Some(option), Some(word)) = (shows, self.words.first()) {
            return Err(Error::new(format!("{option} {}", word.display()), "shows only, and runs nothing"));
        }
        if self.tree {
            return Ok(Job::Do(Box::new(list::tree)));
        }
        if let Some(pid) = self.list {
            let wish = Wish { pid, json: self.json };
            return Ok(Job::Do(Box::new(move || list::list(&wish))));
        }
        let operands = Operands::split(self.words, |at, _| at == 0)?;
        let Some(namespaces) = operands.settings.first() else {
            return Err(Error::new("no namespaces", "").hint("name some, such as uts,pid,mnt"));
        };
        let namespaces = Namespaces::parse(namespaces)?;
        if namespaces.joins_mounts() || self.details.root {
            chain::run_unchangeable(c"ns-enter")?;
        }
        let link = NsEnter::new(namespaces).with(self.details);
        Ok(Job::Launch { links: vec![Box::new(link)], next: operands.next, options: self.options })
    }
}
