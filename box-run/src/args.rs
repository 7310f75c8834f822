//! What the command line says: the settings of all primitives, as one long option each.

use std::{ffi::OsString, path::PathBuf};

use cg_set::{CgSet, Settings, Value};
use chain::{Error, Job, Links, Operands, Options, Result, Tool};
use clap::Parser;
use ns_enter::{Kind, Namespaces, NsEnter};
use ovl_mount::{Changes, Layers, OvlMount};
use root_enter::{Binds, RootEnter};

use crate::{place, print};

/// Run a command in a box: namespaces, limits and a root filesystem of its own
#[derive(Debug, Parser)]
#[command(
    name = "box-run",
    version,
    override_usage = "box-run [OPTIONS] {--root DIR | --lower DIR}... [--] [NEXT [ARG...]]"
)]
#[command(after_help = "\
Without NEXT it is sh. The box has new uts, pid, mnt and ipc namespaces; --print shows how it is made.
Example: box-run --root rootfs --tmp --mem 64M --cpu 0.5 --pids 32 -- sh")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// The directory that becomes the root; read-only without --tmp or --upper
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// A directory to show over the root, or in its place; may be repeated, the highest first
    #[arg(long, value_name = "DIR")]
    lower: Vec<PathBuf>,
    /// Changes to the root go to memory, and away with the box
    #[arg(long, conflicts_with = "upper")]
    tmp: bool,
    /// Changes to the root go to this directory
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,
    #[command(flatten)]
    binds: Binds,
    /// Memory and swap together: 64M, 1G, max
    #[arg(long, value_name = "SIZE", value_parser = Settings::value_of("mem"))]
    mem: Option<Value>,
    /// Processor time: 0.5 is half a core
    #[arg(long, value_name = "CORES", value_parser = Settings::value_of("cpu"))]
    cpu: Option<Value>,
    /// Processes and threads at once
    #[arg(long, value_name = "N", value_parser = Settings::value_of("pids"))]
    pids: Option<Value>,
    /// The host name in the box
    #[arg(long, value_name = "NAME")]
    hostname: Option<OsString>,
    /// Show the box's own cgroups at /sys/fs/cgroup, read-only
    #[arg(long)]
    cgroup: bool,
    /// A network of its own, with nothing but lo
    #[arg(long)]
    net: bool,
    /// Print the chain of lone tools that makes the same box, for sh, and do nothing
    #[arg(long, conflicts_with = "dry_run")]
    print: bool,
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

impl Tool for Args {
    fn job(mut self) -> Result<Job> {
        let operands = Operands::split(std::mem::take(&mut self.words), |_, _| false)?;
        let next = if operands.next.is_empty() { vec!["sh".into()] } else { operands.next };
        let links = self.links()?;
        if self.print {
            let text = print::chain(&links, &self.options, &next)?;
            return Ok(Job::Do(Box::new(move || chain::print(&text).map(drop))));
        }
        Ok(Job::Launch { links, next, options: self.options })
    }
}

impl Args {
    /// The links of the box, outermost first: the group, so that it holds all that follows; the
    /// namespaces; the tree; the switch into it.
    fn links(&self) -> Result<Links> {
        let mut links: Links = Vec::new();
        let limits = Settings::default()
            .with("mem", self.mem.clone())
            .with("cpu", self.cpu.clone())
            .with("pids", self.pids.clone());
        if !limits.is_empty() {
            links.push(Box::new(CgSet::transient(limits)));
        }
        links.push(Box::new(NsEnter::new(self.namespaces()?)));
        let layers = self.layers()?;
        let place = place::choose(&layers, &self.binds)?;
        links.push(Box::new(OvlMount::new(layers, place.clone())));
        links.push(Box::new(RootEnter::new(place, self.binds.clone()).with_cgroup(self.cgroup)));
        Ok(links)
    }

    /// The mount namespace is made by those who mount.
    fn namespaces(&self) -> Result<Namespaces> {
        let mut namespaces =
            [Kind::Uts, Kind::Pid, Kind::Ipc].into_iter().fold(Namespaces::default(), Namespaces::with_new);
        if self.net {
            namespaces = namespaces.with_new(Kind::Net);
        }
        namespaces.hostname = self.hostname.as_deref().map(ns_enter::hostname).transpose()?;
        Ok(namespaces)
    }

    fn layers(&self) -> Result<Layers> {
        let lower: Vec<_> = self.lower.iter().chain(&self.root).cloned().collect();
        if lower.is_empty() {
            return Err(Error::new("no root", "").hint("name one with --root DIR or --lower DIR"));
        }
        if lower.iter().any(|lower| lower.as_os_str().is_empty()) {
            return Err(Error::new("--root", "an empty path"));
        }
        let changes = match (&self.upper, self.tmp) {
            (Some(upper), _) => Changes::Upper { upper: upper.clone(), work: None },
            (None, true) => Changes::Tmp,
            (None, false) => Changes::ReadOnly,
        };
        Ok(Layers { lower, changes })
    }
}
