//! What the command line says: the settings of all primitives, as one long option each.

use std::{ffi::OsString, path::PathBuf};

use cg_set::{Account, Limits};
use chain::{Error, IdMap, Job, Operands, Options, Result, Tool, Words};
use clap::{
    Parser,
    builder::{OsStringValueParser, TypedValueParser},
};
use ns_enter::{Made, Namespaces, Supervision};
use ovl_mount::{MemorySize, MountOptions};
use priv_drop::{Caps, Seccomp};
use root_enter::{Details, Entries};

use crate::{
    boxes, check,
    expand::{self, Expand},
    links,
    modes::Modes,
    network::{self, Network},
    print,
};

/// Run a command in a box: namespaces, limits, privileges and a root filesystem of its own
#[derive(Debug, Parser)]
#[command(
    name = "box-run",
    version,
    override_usage = "box-run [OPTIONS] {--root DIR | --lower DIR}... [--] [NEXT [ARG...]]
       box-run [OPTIONS] [--ro DIR | --rw DIR | --hide DIR | --over DIR]... [--] [NEXT [ARG...]]
       box-run {ps | exec NAME [--] [NEXT [ARG...]] | stop NAME}"
)]
#[command(after_help = "\
Without NEXT it is sh. The box has no network, few capabilities and an environment of its own, and may
have 1024 processes. Without --root and --lower it shows the host's tree, read-only, without what is
private. -n tells how the box is made, --print by which tools.
Example: box-run --root rootfs --tmp --mem 64M --cpu 0.5 --pids 32 -- sh
         box-run --rw . -- make test")]
pub struct Args {
    #[command(flatten)]
    pub(crate) options: Options,
    /// Print the chain of lone tools that makes the same box, for sh, and do nothing
    #[arg(long, conflicts_with = "dry_run")]
    print: bool,
    /// Tell what this machine and this user can have, and what to do about what is missing
    #[arg(long, conflicts_with_all = ["dry_run", "print"])]
    check: bool,
    /// With --check: as JSON
    #[arg(long, requires = "check")]
    json: bool,
    #[command(flatten)]
    pub(crate) expand: Expand,
    #[command(flatten)]
    pub(crate) layers: LayerArgs,
    #[command(flatten)]
    pub(crate) modes: Modes,
    #[command(flatten)]
    pub(crate) entries: Entries,
    #[command(flatten)]
    pub(crate) details: Details,
    #[command(flatten)]
    pub(crate) limits: Limits,
    #[command(flatten)]
    pub(crate) account: Account,
    #[command(flatten)]
    pub(crate) network: Network,
    #[command(flatten)]
    pub(crate) namespaces: NamespaceArgs,
    #[command(flatten)]
    pub(crate) made: Made,
    #[command(flatten)]
    pub(crate) supervision: Supervision,
    #[command(flatten)]
    pub(crate) privileges: priv_drop::Settings,
    #[command(flatten)]
    pub(crate) allow: Loosened,
    #[command(flatten)]
    pub(crate) mount: MountOptions,
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD", hide = true)]
    words: Vec<OsString>,
}

/// What the root is made of.
#[derive(Debug, clap::Args)]
pub(crate) struct LayerArgs {
    /// The directory that becomes the root; read-only without --tmp or --upper
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// A directory to show over the root, or in its place; may be repeated, the highest first
    #[arg(long, value_name = "DIR")]
    pub(crate) lower: Vec<PathBuf>,
    /// Changes to the root go to memory, at most SIZE of it (64M, 25%), and away with the box
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = MemorySize::USUAL, conflicts_with = "upper")]
    pub(crate) tmp: Option<MemorySize>,
    /// Changes to the root, or to what --over shows, go to this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) upper: Option<PathBuf>,
    /// An empty directory on its filesystem for the kernel's use [default: UPPER.work]
    #[arg(long, value_name = "DIR", requires = "upper")]
    pub(crate) work: Option<PathBuf>,
    /// Who root of the box and others are outside, INSIDE-OUTSIDE-COUNT[+...] [default: root's range of /etc/subuid]
    #[arg(long, value_name = "MAP", conflicts_with = "allow_host_root")]
    pub(crate) idmap: Option<IdMap>,
    /// Let fuse-overlayfs make the overlay, not the kernel
    #[arg(long)]
    pub(crate) fuse: bool,
}

/// Which namespaces there are.
#[derive(Debug, clap::Args)]
pub(crate) struct NamespaceArgs {
    /// The host name in the box
    #[arg(long, value_name = "NAME", help_heading = "New namespaces")]
    pub(crate) hostname: Option<OsString>,
    /// More namespaces, or others than the box has by itself, as ns-enter takes them: time=+1h, net@PID
    #[arg(long, value_name = "LIST", value_parser = namespaces(), help_heading = "New namespaces")]
    pub(crate) ns: Option<Namespaces>,
    /// Give the box a name, by which box-run ps, exec and stop find it
    #[arg(long, value_name = "NAME", conflicts_with = "pid_file", help_heading = "The command")]
    pub(crate) name: Option<boxes::Name>,
    /// Let NEXT be process 1, not the child of one that reaps orphans
    #[arg(long, help_heading = "The command")]
    pub(crate) no_init: bool,
}

/// What is loosened, one thing at a time.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Less of a box")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Loosened {
    /// Use the network of the caller
    #[arg(long)]
    pub(crate) allow_net: bool,
    /// Share the caller's System V and POSIX message queues, semaphores and shared memory
    #[arg(long)]
    pub(crate) allow_ipc: bool,
    /// See the groups that it is in as the caller does
    #[arg(long)]
    pub(crate) allow_cgroup: bool,
    /// Let files that are run give privileges; with --seccomp none
    #[arg(long)]
    pub(crate) allow_new_privs: bool,
    /// Pass on the caller's environment
    #[arg(long, conflicts_with_all = ["env_clear", "env_pass"])]
    pub(crate) allow_env: bool,
    /// Let root in a box of root's be the machine's, though /etc/subuid has ids for it
    #[arg(long)]
    pub(crate) allow_host_root: bool,
    /// Show what is known to be secret where its directory is shown
    #[arg(long)]
    pub(crate) allow_secrets: bool,
}

fn namespaces() -> impl TypedValueParser<Value = Namespaces> {
    OsStringValueParser::new()
        .try_map(|word: OsString| Namespaces::parse(&word).map_err(|error| error.to_string()))
}

impl Tool for Args {
    fn before(words: Vec<OsString>) -> Result<Words> {
        match boxes::job(&words)? {
            Some(job) => Ok(Words { words, overriding: false, instead: Some(job) }),
            None => expand::expand(words),
        }
    }

    fn common() -> &'static [&'static str] {
        &[
            "dry_run",
            "print",
            "preset",
            "config",
            "root",
            "lower",
            "tmp",
            "upper",
            "ro",
            "rw",
            "hide",
            "over",
            "bind",
            "ro-bind",
            "tmpfs",
            "net-files",
            "mem",
            "cpu",
            "pids",
            "report",
            "lan",
            "link",
            "hostname",
            "timeout",
            "chdir",
            "user",
            "caps",
            "seccomp",
            "env",
            "env_pass",
            "allow_net",
        ]
    }

    fn job(mut self) -> Result<Job> {
        if self.check {
            return Ok(Job::Ask(Box::new(move || check::check(self.json))));
        }
        let of_a_link = self.words.first().and_then(|word| network::with_prefix(word.to_str()?));
        let operands =
            Operands::split(std::mem::take(&mut self.words), |_, _| false).map_err(
                |error| match of_a_link {
                    Some(option) => error.hint(format!("of a box's link it is {option}")),
                    None => error,
                },
            )?;
        let next = if operands.next.is_empty() { vec!["sh".into()] } else { operands.next };
        let mut options = std::mem::take(&mut self.options);
        options.notes = self.notes();
        if self.print {
            let (links, _) = links::of(&self, true)?;
            let text = print::chain(&links, &options, &next)?;
            return Ok(Job::Do(Box::new(move || chain::print(&text).map(drop))));
        }
        let (links, shown) = links::of(&self, false)?;
        options.if_not_found = shown.and_then(|shown| shown.where_hidden(&next[0]));
        Ok(Job::Launch { links, next, options })
    }
}

impl Args {
    /// What is loosened, for a dry run: what each of these opens.
    fn notes(&self) -> Vec<String> {
        let Self { allow, details, privileges, .. } = self;
        let notes = [
            (
                allow.allow_net,
                "--allow-net: the command uses the caller's network, and its abstract unix sockets",
            ),
            (
                allow.allow_ipc,
                "--allow-ipc: the command shares the caller's message queues, semaphores and memory",
            ),
            (allow.allow_cgroup, "--allow-cgroup: the command sees the names of the caller's groups"),
            (
                allow.allow_new_privs,
                "--allow-new-privs: setuid programs and file capabilities give privileges",
            ),
            (
                allow.allow_env,
                "--allow-env: the command gets the caller's environment, and what is secret in it",
            ),
            (
                allow.allow_host_root && crate::privileges::is_root_outside(),
                "--allow-host-root: root in the box is the machine's, and so is what it makes and gets hold of",
            ),
            (
                allow.allow_secrets,
                "--allow-secrets: keys and passwords are shown where their directories are",
            ),
            (
                privileges.caps == Some(Caps::All),
                "--caps all: the command keeps all capabilities of the caller",
            ),
            (
                privileges.seccomp == Some(Seccomp::None),
                "--seccomp none: the command may use all system calls",
            ),
            (details.suid, "--suid: setuid programs of the root and of what is bound work"),
            (details.device_files, "--device-files: device files of the root and of what is bound work"),
            (details.proc_full, "--proc-full: what in /proc is the machine's is shown, and can be written"),
        ];
        let notes = notes.into_iter().filter(|(given, _)| *given).map(|(_, note)| note.to_owned());
        let joined = self.namespaces.ns.iter().flat_map(Namespaces::joined);
        let joined = joined.map(|word| format!("--ns {word}: the command is in that namespace with others"));
        notes.chain(self.network.note()).chain(joined).map(|note| format!("loosened: {note}")).collect()
    }
}

impl LayerArgs {
    /// The directories of the root, the highest first; none if it is the host's.
    pub(crate) fn directories(&self) -> Result<Vec<PathBuf>> {
        let all: Vec<_> = self.lower.iter().chain(&self.root).cloned().collect();
        if all.iter().any(|lower| lower.as_os_str().is_empty()) {
            return Err(Error::new("--root", "an empty path"));
        }
        Ok(all)
    }
}
