//! What the options say, besides which namespaces there are.

use std::{
    ffi::{OsStr, OsString},
    os::fd::RawFd,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use chain::{Error, Propagation, Result, Span, Timeout};
use clap::{
    ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};

use crate::{
    idmap::{Map, Owner},
    keep::Keep,
    kind::Kind,
    namespaces::{self, Namespaces, Want},
};

/// The options of a launch.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Details {
    /// Of new namespaces.
    #[command(flatten)]
    pub made: Made,
    /// What is mounted in a new mnt namespace and what is outside: private, slave, shared, unchanged
    #[arg(long, value_name = "HOW", hide_possible_values = true, help_heading = "New namespaces")]
    pub propagation: Option<Propagation>,
    /// Mount the new proc on this directory, not on /proc
    #[arg(long, value_name = "DIR", help_heading = "New namespaces")]
    pub proc: Option<PathBuf>,
    /// Mount no new proc
    #[arg(long, conflicts_with = "proc", help_heading = "New namespaces")]
    pub no_proc: bool,
    /// Take the root directory of the process that is joined
    #[arg(long, help_heading = "Joined namespaces")]
    pub root: bool,
    /// Take its working directory
    #[arg(long, help_heading = "Joined namespaces")]
    pub wd: bool,
    /// Give NEXT the environment of this process
    #[arg(long, value_name = "PID", value_parser = pid, help_heading = "The command")]
    pub env_of: Option<u32>,
    /// Be process 1 of the new pid namespace, run NEXT as a child, and reap orphans
    #[arg(long, help_heading = "The command")]
    pub init: bool,
    /// Outside.
    #[command(flatten)]
    pub supervision: Supervision,
}

/// What new namespaces have besides their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Made {
    /// Map groups in this way: user's value, if they are to differ from the users
    #[arg(long, value_name = "MAP", value_parser = Map::from_str, help_heading = "New namespaces")]
    pub gid_map: Option<Map>,
    /// Let a new user namespace belong to this user; only root may
    #[arg(long, value_name = "UID[:GID]", value_parser = Owner::from_str, help_heading = "New namespaces")]
    pub owner: Option<Owner>,
    /// Set the NIS domain name in a new uts namespace
    #[arg(long, value_name = "NAME", value_parser = parser(domain), help_heading = "New namespaces")]
    pub domain: Option<String>,
    /// Keep a new namespace on a file, until umount(8); may be repeated
    #[arg(long, value_name = "KIND=FILE", value_parser = parser(Keep::parse), help_heading = "New namespaces")]
    pub keep: Vec<Keep>,
}

/// What the process outside does around NEXT.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Supervision {
    /// Write the child's pid to this file; it goes when NEXT has ended
    #[arg(long, value_name = "FILE", help_heading = "The command")]
    pub pid_file: Option<PathBuf>,
    /// Write the child's pid and its namespaces to this descriptor, as a line of JSON
    #[arg(long, value_name = "N", value_parser = chain::descriptor, help_heading = "The command")]
    pub info_fd: Option<RawFd>,
    /// Run NEXT when there is a byte on this descriptor, or its end
    #[arg(long, value_name = "N", value_parser = chain::descriptor, help_heading = "The command")]
    pub wait_fd: Option<RawFd>,
    /// End NEXT after this time, with status 124: 500ms, 1.5s, 2h; 0 is no limit
    #[arg(long, value_name = "TIME", value_parser = Span::from_str, help_heading = "The command")]
    pub timeout: Option<Span>,
    /// Kill NEXT so much later if it did not end [default: 1s]
    #[arg(long, value_name = "TIME", requires = "timeout", value_parser = Span::from_str, help_heading = "The command")]
    pub kill_after: Option<Span>,
}

impl Supervision {
    /// How long SIGTERM has to do its work.
    const KILL_AFTER: Span = Span(Duration::from_secs(1));

    /// When NEXT is ended; without a limit if the time is 0, as timeout(1) takes it.
    pub(crate) fn limit(&self) -> Option<Timeout> {
        let Span(after) = self.timeout.filter(|span| *span != Span(Duration::ZERO))?;
        let Span(kill_after) = self.kill_after.unwrap_or(Self::KILL_AFTER);
        Some(Timeout { after, kill_after })
    }
}

impl Details {
    /// The words that make the lone tool do the same.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        let mut option = |name: &str, value: OsString| words.extend([format!("--{name}").into(), value]);
        if let Some(map) = &self.made.gid_map {
            option("gid-map", map.to_string().into());
        }
        if let Some(owner) = &self.made.owner {
            option("owner", owner.to_string().into());
        }
        if let Some(name) = &self.made.domain {
            option("domain", name.into());
        }
        if let Some(value) = self.propagation.and_then(|propagation| propagation.to_possible_value()) {
            option("propagation", value.get_name().into());
        }
        if let Some(dir) = &self.proc {
            option("proc", dir.into());
        }
        for keep in &self.made.keep {
            option("keep", keep.word());
        }
        if let Some(pid) = self.env_of {
            option("env-of", pid.to_string().into());
        }
        if let Some(file) = &self.supervision.pid_file {
            option("pid-file", file.into());
        }
        if let Some(fd) = self.supervision.info_fd {
            option("info-fd", fd.to_string().into());
        }
        if let Some(fd) = self.supervision.wait_fd {
            option("wait-fd", fd.to_string().into());
        }
        if let Some(span) = self.supervision.timeout {
            option("timeout", span.to_string().into());
        }
        if let Some(span) = self.supervision.kill_after {
            option("kill-after", span.to_string().into());
        }
        let flags =
            [("--no-proc", self.no_proc), ("--root", self.root), ("--wd", self.wd), ("--init", self.init)];
        words.extend(flags.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag.into()));
        words
    }

    /// Fails if an option has nothing to be about among `wanted`, where nothing is implied any more.
    pub(crate) fn check(&self, wanted: &Namespaces) -> Result<()> {
        let needs = |option: &str, kind: Kind| {
            if wanted.is_new(kind) {
                return Ok(());
            }
            Err(Error::new(option, format!("there is no new {kind} namespace")).hint(format!("add {kind}")))
        };
        let given = [
            (self.made.gid_map.is_some(), "--gid-map", Kind::User),
            (self.made.owner.is_some(), "--owner", Kind::User),
            (self.made.domain.is_some(), "--domain", Kind::Uts),
            (self.propagation.is_some(), "--propagation", Kind::Mnt),
            (self.proc.is_some(), "--proc", Kind::Mnt),
            (self.no_proc, "--no-proc", Kind::Mnt),
            (self.init, "--init", Kind::Pid),
        ];
        for (_, option, kind) in given.into_iter().filter(|(given, ..)| *given) {
            needs(option, kind)?;
        }
        if self.made.owner.is_some() && wanted.offsets.is_some() {
            return Err(Error::new("--owner", "the clocks cannot be set for another user"));
        }
        for (at, keep) in self.made.keep.iter().enumerate() {
            needs("--keep", keep.kind)?;
            keep.check()?;
            if self.made.keep[..at].iter().any(|other| other.file == keep.file) {
                return Err(Error::new(
                    format!("--keep {}", keep.word().display()),
                    "the file is given twice",
                ));
            }
        }
        let wants = wanted.all.iter().chain(wanted.wanted.iter().map(|(_, want)| want));
        let joins = wants.into_iter().any(|want| matches!(want, Want::Join(_)));
        if (self.root || self.wd) && !joins {
            return Err(Error::new("--root, --wd", "no process is joined").hint("join one, as in mnt@PID"));
        }
        if self.supervision.info_fd.is_some() && self.supervision.info_fd == self.supervision.wait_fd {
            return Err(Error::new("--info-fd, --wait-fd", "both are the same descriptor"));
        }
        Ok(())
    }
}

/// Parses a pid.
pub(crate) fn pid(text: &str) -> Result<u32, &'static str> {
    text.parse::<i32>().ok().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0).ok_or("not a pid")
}

fn domain(name: &OsStr) -> Result<String> {
    namespaces::system_name("domain name", name)
}

/// A parser of an option's value, which need not be UTF-8.
fn parser<T: Clone + Send + Sync + 'static>(
    parse: fn(&OsStr) -> Result<T>,
) -> impl TypedValueParser<Value = T> {
    OsStringValueParser::new().try_map(move |word: OsString| parse(&word).map_err(|error| error.reason()))
}
