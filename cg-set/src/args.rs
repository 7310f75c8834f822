//! What the command line says: settings such as `mem=4M cpu=1.5 pids=100`, and what to do with a
//! named group.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    os::unix::ffi::OsStrExt,
    str::FromStr,
};

use chain::{Error, Job, Limit, Operands, Options, Result, Size, Tool, text};
use clap::Parser;

use crate::{CgSet, named};

/// Hold a command to cgroup limits
#[derive(Debug, Parser)]
#[command(
    name = "cg-set",
    version,
    override_usage = "cg-set [OPTIONS] SETTING... [--] NEXT [ARG...]
       cg-set [OPTIONS] --name GROUP [SETTING...] [--] NEXT [ARG...]
       cg-set --name GROUP [SETTING...]
       cg-set --name GROUP --pid PID... [SETTING...]
       cg-set --name GROUP --remove"
)]
#[command(after_help = "\
Settings: mem=SIZE    memory and swap together: 4M, 1G, max
          cpu=CORES   processor time: 0.5 is half a core, max
          pids=N      processes and threads at once: 100, max
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
            && let Some((key, value)) = KEYS.into_iter().find(|(key, _)| word == key)
        {
            return Err(Error::new(key, "not a setting")
                .hint(format!("write {key}={value}, or -- before a command of this name")));
        }
        let operands = Operands::split(self.words, |_, word| is_setting(word))?;
        let (more_pids, settings): (Vec<_>, Vec<_>) = operands.settings.iter().partition(|word| is_pid(word));
        let settings = Settings::parse(settings)?;
        let mut pids = self.pids;
        for pid in more_pids {
            pids.push(parse_pid(text("pid", pid)?)?);
        }

        let Some(name) = self.name else {
            if settings == Settings::default() {
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
        let task = match (self.remove, settings == Settings::default()) {
            (true, false) => {
                return Err(Error::new(format!("--name {name}"), "--remove takes no settings"));
            }
            (true, true) => named::Task::Remove,
            (false, nothing_set) if with_pids || !nothing_set => named::Task::Change { settings, pids },
            (false, _) => named::Task::Show,
        };
        let dry_run = self.options.dry_run;
        Ok(Job::Do(Box::new(move || named::carry_out(&name, &task, dry_run))))
    }
}

/// The settings, and what they take.
const KEYS: [(&str, &str); 3] = [("mem", "SIZE"), ("cpu", "CORES"), ("pids", "N")];

fn parse_pid(word: &str) -> Result<i32> {
    word.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| Error::new(format!("--pid {word}"), "not a pid"))
}

/// The limits that were asked for. What is `None` is left as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Memory and swap together, in bytes.
    pub mem: Option<Limit<Size>>,
    /// Processor time.
    pub cpu: Option<Limit<Cores>>,
    /// Processes and threads at once.
    pub pids: Option<Limit<Count>>,
}

impl Settings {
    /// Parses words such as `mem=4M`, each key at most once.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a OsString>) -> Result<Self> {
        let mut settings = Self::default();
        for word in words {
            settings.add(text("setting", word)?)?;
        }
        Ok(settings)
    }

    fn add(&mut self, word: &str) -> Result<()> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let given = match key {
            "mem" => set(&mut self.mem, value),
            "cpu" => set(&mut self.cpu, value),
            "pids" => set(&mut self.pids, value),
            _ => {
                return Err(Error::new(word, "not a setting").hint("there are mem=, cpu= and pids="));
            }
        };
        given.map_err(|why| Error::new(word, why))
    }

    /// The words that [`Settings::parse`] makes this of.
    pub fn words(&self) -> Vec<OsString> {
        fn word(key: &str, value: Option<impl fmt::Display>) -> Option<OsString> {
            value.map(|value| format!("{key}={value}").into())
        }
        [word("mem", self.mem), word("cpu", self.cpu), word("pids", self.pids)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Sets what must not be set yet.
fn set<T: FromStr<Err = String>>(place: &mut Option<T>, value: &str) -> Result<(), String> {
    if place.is_some() {
        return Err("given twice".into());
    }
    *place = Some(value.parse()?);
    Ok(())
}

/// Processor time in microseconds for each [`Cores::PERIOD`]: 100,000 is one core.
/// From 0.01 cores, the least that the kernel takes (min_cfs_quota_period in kernel/sched/core.c),
/// to 100,000 cores; typed with up to five decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores(pub u64);

impl Cores {
    /// The period in microseconds over which the time is counted; the kernel's default.
    pub const PERIOD: u64 = 100_000;
    const DECIMALS: usize = 5;
    const LEAST: u64 = 1_000;
    const MOST: u64 = 100_000 * Self::PERIOD;
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > Self::DECIMALS {
            return Err(
                "not a number of cores; write such as 2 or 0.5, with up to five decimals, or max".into()
            );
        }
        let micros = format!("{whole}{part:0<width$}", width = Self::DECIMALS).parse().unwrap_or(u64::MAX);
        match micros {
            Self::LEAST..=Self::MOST => Ok(Self(micros)),
            _ => Err("the kernel takes 0.01 to 100000 cores".into()),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = format!("{}.{:05}", self.0 / Self::PERIOD, self.0 % Self::PERIOD);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A number of processes, 1 to 4,194,304 (PID_MAX_LIMIT in include/linux/threads.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl Count {
    const MOST: u32 = 4_194_304;
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        number
            .filter(|number| (1..=Self::MOST).contains(number))
            .map(Self)
            .ok_or_else(|| format!("not a number of processes; write 1 to {}, or max", Self::MOST))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
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

    fn parse(words: &str) -> Result<Settings> {
        Settings::parse(&words.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn each_setting_is_read() {
        let settings = parse("mem=4M cpu=1.5 pids=100").expect("parses");
        assert_eq!(settings.mem, Some(Limit::At(Size(4 << 20))));
        assert_eq!(settings.cpu, Some(Limit::At(Cores(150_000))));
        assert_eq!(settings.pids, Some(Limit::At(Count(100))));
        assert_eq!(parse("mem=max").expect("parses").mem, Some(Limit::Max));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            "",
            "mem",
            "mem=",
            "mem=4Q",
            "mem=-1",
            "mem=1M mem=1M",
            "foo=1",
            "=1",
            "cpu=0",
            "cpu=0.001",
            "cpu=.5",
            "cpu=1.",
            "cpu=1.234567",
            "cpu=-1",
            "cpu=1e3",
            "cpu=999999999999999999999",
            "pids=0",
            "pids=-1",
            "pids=+1",
            "pids=1.5",
            "pids=4194305",
            "pids=",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

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
        fn printed_and_parsed_again_it_is_the_same(
            mem in proptest::option::of(any::<u64>()),
            cpu in proptest::option::of(Cores::LEAST..=Cores::MOST),
            pids in proptest::option::of(1..=Count::MOST),
            max in any::<[bool; 3]>(),
        ) {
            fn limit<T>(value: T, max: bool) -> Limit<T> {
                if max { Limit::Max } else { Limit::At(value) }
            }
            let settings = Settings {
                mem: mem.map(|mem| limit(Size(mem), max[0])),
                cpu: cpu.map(|cpu| limit(Cores(cpu), max[1])),
                pids: pids.map(|pids| limit(Count(pids), max[2])),
            };
            prop_assert_eq!(Settings::parse(&settings.words()), Ok(settings));
        }

        #[test]
        fn no_input_panics(key in "(mem|cpu|pids)?", value in "\\PC*") {
            let _ = parse(&format!("{key}={value}"));
            let _ = GroupName::parse(OsStr::new(&value));
        }
    }
}
