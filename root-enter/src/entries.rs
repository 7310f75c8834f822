//! The options that put something into the new root, in the order in which they were typed.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};

use crate::{cgroup, entry::Entry};

/// What goes into the new root, in the order in which it was typed: a later entry may lie in an earlier one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entries(pub Vec<Entry>);

/// Name, value and help of each option.
const OPTIONS: [(&str, &str, &str); 12] = [
    (
        "bind",
        "SRC:DST[:OPTIONS]",
        "Show the host's SRC, a path or fd:N: ro, dev, suid, noexec, norec, idmap=MAP",
    ),
    ("ro-bind", "SRC:DST[:OPTIONS]", "The same, but read-only, all the way down"),
    ("tmpfs", "DST[:OPTIONS]", "Mount an empty filesystem in memory: size=64M, mode=1777"),
    ("proc", "DST", "Mount a new proc, not on /proc but here"),
    ("sysfs", "DST", "Mount a new sysfs, read-only; needs a network namespace of its own"),
    ("dev", "DST", "Mount a minimal /dev, not on /dev but here"),
    ("file", "TEXT:DST[:OPTIONS]", "Show a file with this text, or with what is read from @FD: mode=644, ro"),
    ("symlink", "TARGET:LINK", "Make a symbolic link"),
    ("dir", "DST[:mode=OCTAL]", "Make a directory"),
    ("mask", "PATH", "Hide a file or directory under an empty one"),
    ("remount-ro", "PATH", "Make what is there read-only, with all that is mounted below it"),
    ("cgroup", "DST", "Show the command's own cgroups, read-only [default: /sys/fs/cgroup]"),
];

const NET_FILES: &str = "net-files";
const HEADING: &str = "In the new root, in the order given";

impl Entries {
    /// Whether this is the name of one of these options.
    pub fn is_one(name: &str) -> bool {
        name == NET_FILES || OPTIONS.iter().any(|(known, ..)| *known == name)
    }

    /// The words that make the lone tool do the same.
    pub fn words(&self) -> Vec<OsString> {
        self.0.iter().flat_map(Entry::words).collect()
    }

    pub(crate) fn has_proc(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry, Entry::Proc(_)))
    }

    pub(crate) fn has_dev(&self) -> bool {
        self.0.iter().any(|entry| matches!(entry, Entry::Dev(_)))
    }
}

impl clap::Args for Entries {
    fn augment_args(command: Command) -> Command {
        let options = OPTIONS.iter().map(|(name, value, help)| {
            let option = Arg::new(*name)
                .long(*name)
                .value_name(*value)
                .help(*help)
                .help_heading(HEADING)
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString));
            if *name == "cgroup" {
                option.num_args(0..=1).require_equals(true).default_missing_value(cgroup::PLACE)
            } else {
                option.allow_hyphen_values(true)
            }
        });
        let net_files = Arg::new(NET_FILES)
            .long(NET_FILES)
            .help("Show the host's resolv.conf and hosts, and the host name, in /etc")
            .help_heading(HEADING)
            .action(ArgAction::SetTrue);
        command.args(options).arg(net_files)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Entries {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut entries = Vec::new();
        for (name, ..) in OPTIONS {
            let places = matches.indices_of(name).into_iter().flatten();
            let words = matches.get_many::<OsString>(name).into_iter().flatten();
            for (place, word) in places.zip(words) {
                let entry = Entry::parse(name, word).map_err(|error| {
                    clap::Error::raw(clap::error::ErrorKind::ValueValidation, error.to_string())
                })?;
                entries.push((place, entry));
            }
        }
        if matches.get_flag(NET_FILES) {
            entries.push((matches.index_of(NET_FILES).unwrap_or(usize::MAX), Entry::NetFiles));
        }
        entries.sort_by_key(|(place, _)| *place);
        Ok(Self(entries.into_iter().map(|(_, entry)| entry).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
