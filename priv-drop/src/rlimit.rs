//! Limits of the process and of those that it makes (getrlimit(2)).

use std::{fmt, fs, str::FromStr, time::Duration};

use chain::{Doing, Limit, Remedy, Result, Size, Span};
use nix::{
    errno::Errno,
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
};

/// What a limit counts, which says how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Bytes,
    Seconds,
    Microseconds,
    Number,
}

/// The limits by the names of prlimit(1), and what the kernel calls them in /proc/PID/limits after "Max" (fs/proc/base.c).
const RESOURCES: [(&str, Resource, Unit, &str); 16] = [
    ("as", Resource::RLIMIT_AS, Unit::Bytes, "address space"),
    ("core", Resource::RLIMIT_CORE, Unit::Bytes, "core file size"),
    ("cpu", Resource::RLIMIT_CPU, Unit::Seconds, "cpu time"),
    ("data", Resource::RLIMIT_DATA, Unit::Bytes, "data size"),
    ("fsize", Resource::RLIMIT_FSIZE, Unit::Bytes, "file size"),
    ("locks", Resource::RLIMIT_LOCKS, Unit::Number, "file locks"),
    ("memlock", Resource::RLIMIT_MEMLOCK, Unit::Bytes, "locked memory"),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE, Unit::Bytes, "msgqueue size"),
    ("nice", Resource::RLIMIT_NICE, Unit::Number, "nice priority"),
    ("nofile", Resource::RLIMIT_NOFILE, Unit::Number, "open files"),
    ("nproc", Resource::RLIMIT_NPROC, Unit::Number, "processes"),
    ("rss", Resource::RLIMIT_RSS, Unit::Bytes, "resident set"),
    ("rtprio", Resource::RLIMIT_RTPRIO, Unit::Number, "realtime priority"),
    ("rttime", Resource::RLIMIT_RTTIME, Unit::Microseconds, "realtime timeout"),
    ("sigpending", Resource::RLIMIT_SIGPENDING, Unit::Number, "pending signals"),
    ("stack", Resource::RLIMIT_STACK, Unit::Bytes, "stack size"),
];

/// A limit. Typed as `NAME=VALUE`, which sets the soft and the hard limit, or `NAME=VALUE:HARD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    resource: usize,
    soft: u64,
    hard: u64,
}

impl Rlimit {
    /// The limits that a process has (proc_pid_limits(5), which unlike prlimit(2) anybody may read), but none higher
    /// than this process may set its own to. `None` if the process is gone.
    pub fn of_process(pid: u32) -> Option<Vec<Self>> {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
        let limits = RESOURCES.iter().enumerate().map(|(resource, (_, kind, _, label))| {
            let mut values = text
                .lines()
                .find_map(|line| line.strip_prefix("Max ")?.strip_prefix(*label))?
                .split_whitespace();
            let mut next = || match values.next()? {
                "unlimited" => Some(RLIM_INFINITY),
                number => number.parse().ok(),
            };
            let (soft, hard) = (next()?, next()?);
            let (_, most) = getrlimit(*kind).ok()?;
            Some(Self { resource, soft: soft.min(most), hard: hard.min(most) })
        });
        limits.collect()
    }

    /// Whether the hard limit of this process is lower, which only root may raise.
    pub fn is_above_own(&self) -> bool {
        getrlimit(RESOURCES[self.resource].1).is_ok_and(|(_, own)| own < self.hard)
    }

    /// The name of the resource, as it is typed.
    pub fn name(&self) -> &'static str {
        RESOURCES[self.resource].0
    }
}

impl FromStr for Rlimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, values) =
            text.split_once('=').ok_or("without a value; write NAME=VALUE, such as nofile=256")?;
        let known = RESOURCES.iter().position(|(known, ..)| *known == name);
        let Some(resource) = known else {
            let names = RESOURCES.map(|(name, ..)| name).join(", ");
            return Err(format!("no limit is called {name}; there are {names}"));
        };
        let unit = RESOURCES[resource].2;
        let (soft, hard) = match values.split_once(':') {
            Some((soft, hard)) => (unit.parse(soft)?, unit.parse(hard)?),
            None => (unit.parse(values)?, unit.parse(values)?),
        };
        if soft > hard {
            return Err("the first value is above the second, which is the hard limit".into());
        }
        Ok(Self { resource, soft, hard })
    }
}

impl fmt::Display for Rlimit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (name, _, unit, _) = RESOURCES[self.resource];
        write!(f, "{name}={}", unit.show(self.soft))?;
        if self.soft == self.hard { Ok(()) } else { write!(f, ":{}", unit.show(self.hard)) }
    }
}

impl Unit {
    /// The value as the kernel takes it.
    fn parse(self, text: &str) -> Result<u64, String> {
        if text == "max" {
            return Ok(RLIM_INFINITY);
        }
        let value = match self {
            Self::Bytes => text.parse::<Size>()?.0,
            Self::Seconds => {
                let Span(time) = text.parse()?;
                if time.subsec_nanos() != 0 {
                    return Err("not whole seconds, which the kernel counts".into());
                }
                time.as_secs()
            }
            Self::Microseconds => {
                let Span(time) = text.parse()?;
                u64::try_from(time.as_micros()).map_err(|_| "too long a time")?
            }
            Self::Number => {
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                digits.then(|| text.parse().ok()).flatten().ok_or("not a number; write one, or max")?
            }
        };
        if value == RLIM_INFINITY { Err("too large; write max".into()) } else { Ok(value) }
    }

    fn show(self, value: u64) -> String {
        if value == RLIM_INFINITY {
            return Limit::<Size>::Max.to_string();
        }
        match self {
            Self::Bytes => Size(value).to_string(),
            Self::Seconds => Span(Duration::from_secs(value)).to_string(),
            Self::Microseconds => Span(Duration::from_micros(value)).to_string(),
            Self::Number => value.to_string(),
        }
    }
}

impl Rlimit {
    /// Sets it for this process.
    pub(crate) fn set(&self) -> Result<()> {
        setrlimit(RESOURCES[self.resource].1, self.soft, self.hard)
            .doing(|| format!("limit {self}"))
            .remedy(Errno::EPERM, "only root may raise a hard limit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limits_of_a_process_are_asked_for() {
        let own = Rlimit::of_process(std::process::id()).expect("of this process");
        assert_eq!(own.len(), RESOURCES.len());
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        assert!(own.iter().any(|limit| limit.name() == "nofile" && (limit.soft, limit.hard) == (soft, hard)));
    }

    #[test]
    fn a_value_is_written_in_the_unit_of_what_it_limits() {
        for (text, soft, hard) in [
            ("nofile=256", 256, 256),
            ("as=1G:max", 1 << 30, RLIM_INFINITY),
            ("cpu=2m", 120, 120),
            ("rttime=1.5ms:1", 1500, 1_000_000),
            ("core=0", 0, 0),
        ] {
            let limit: Rlimit = text.parse().expect(text);
            assert_eq!((limit.soft, limit.hard), (soft, hard), "{text}");
        }
    }

    #[test]
    fn what_is_no_limit_is_refused() {
        for text in [
            "",
            "=",
            "nofile",
            "nofile=",
            "nofile=1K",
            "nofile=-1",
            "nofile=2:1",
            "cpu=1.5",
            "cpu=1M",
            "as=1x",
            "NOFILE=1",
            "RLIMIT_AS=1",
            "as=1:2:3",
            "nofile=18446744073709551615",
            "core=max:1",
        ] {
            assert!(text.parse::<Rlimit>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "\\PC*", name in "(as|cpu|rttime|nice)", value in "[0-9.:a-zA-Z]{0,30}") {
            let _ = (text.parse::<Rlimit>(), format!("{name}={value}").parse::<Rlimit>());
        }
    }
}
