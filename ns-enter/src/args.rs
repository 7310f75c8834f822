//! What the command line says.

use std::ffi::OsString;

use chain::{Error, Job, Operands, Options, Result, Tool};
use clap::Parser;

use crate::{Details, Namespaces, NsEnter};

/// Make or join namespaces, then run a command in them
#[derive(Debug, Parser)]
#[command(
    name = "ns-enter",
    version,
    override_usage = "ns-enter [OPTIONS] NAMESPACE[,...] [--] NEXT [ARG...]"
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
    /// Namespaces, separated by commas, then the command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(self) -> Result<Job> {
        let operands = Operands::split(self.words, |at, _| at == 0)?;
        let Some(namespaces) = operands.settings.first() else {
            return Err(Error::new("no namespaces", "").hint("name some, such as uts,pid,mnt"));
        };
        let link = NsEnter::new(Namespaces::parse(namespaces)?).with(self.details);
        Ok(Job::Launch { links: vec![Box::new(link)], next: operands.next, options: self.options })
    }
}
