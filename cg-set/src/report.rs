//! What is told when NEXT has ended: `--report` for programs, `--stat` for people.

use std::{
    borrow::Cow,
    ffi::OsString,
    fmt::Write as _,
    io::{self, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use chain::{Doing, Ended, Ending, ReportFile, Result};
use serde::Serialize;

use crate::{
    human::{approximate, seconds},
    usage::{Stall, Used},
};

/// What is to be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Account {
    /// Write what the command used to this file, as a line of JSON; - is stderr
    #[arg(long, value_name = "FILE", help_heading = "The command")]
    pub report: Option<PathBuf>,
    /// Print what the command used on stderr
    #[arg(long, help_heading = "The command")]
    pub stat: bool,
}

impl Account {
    /// Whether the command is to be measured.
    pub fn is_wanted(&self) -> bool {
        self.stat || self.report.is_some()
    }

    /// The words that ask for it.
    pub(crate) fn words(&self) -> Vec<OsString> {
        let report = self.report.iter().flat_map(|file| ["--report".into(), file.into()]);
        report.chain(self.stat.then(|| "--stat".into())).collect()
    }

    /// Opens the report's file, before anything runs.
    pub(crate) fn open(&self) -> Result<Open> {
        let report = self.report.as_deref().map(|path| ReportFile::open("--report", path)).transpose()?;
        Ok(Open { report, stat: self.stat })
    }
}

/// Where it will be told.
#[derive(Debug, Default)]
pub(crate) struct Open {
    report: Option<ReportFile>,
    stat: bool,
}

/// The line of `--report`.
#[derive(Serialize)]
struct Report<'a> {
    command: Cow<'a, str>,
    exit: Option<u8>,
    signal: Option<&'static str>,
    timed_out: bool,
    wall_usec: u64,
    #[serde(flatten)]
    used: &'a Used,
}

impl Open {
    /// Tells it.
    pub(crate) fn tell(&self, ended: &Ended, started: Instant, used: &Used) -> Result<()> {
        let wall = started.elapsed();
        let report = |report| Self::report(report, ended, wall, used);
        let reported = self.report.as_ref().map_or(Ok(()), report);
        // People can lose it, and programs still have theirs.
        if self.stat {
            let text = stat(ended, wall, used);
            io::stderr().write_all(text.as_bytes()).doing(|| "--stat".into())?;
        }
        reported
    }

    fn report(report: &ReportFile, ended: &Ended, wall: Duration, used: &Used) -> Result<()> {
        let (exit, signal) = match ended.ending {
            Ending::Exited(status) => (Some(status), None),
            Ending::Killed(signal) => (None, Some(signal.as_str())),
            Ending::TimedOut | Ending::NotRun => (None, None),
        };
        let line = chain::json(&Report {
            command: ended.next.to_string_lossy(),
            exit,
            signal,
            timed_out: ended.ending == Ending::TimedOut,
            wall_usec: micros(wall),
            used,
        })?;
        report.write(&line)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What is known, a line for each thing.
fn stat(ended: &Ended, wall: Duration, used: &Used) -> String {
    let next = chain::one_line(&ended.next.to_string_lossy());
    let how = match ended.ending {
        Ending::Exited(status) => format!("exit status {status}"),
        Ending::Killed(signal) => signal.as_str().to_owned(),
        Ending::TimedOut => "its time was over".into(),
        Ending::NotRun => "did not run".into(),
    };
    let mut lines = vec![("command", format!("{next}: {how}")), ("wall", seconds(micros(wall)))];
    if let (Some(user), Some(system)) = (used.cpu_user_usec, used.cpu_system_usec) {
        let share = (user + system).saturating_mul(100) / micros(wall).max(1);
        lines
            .push(("cpu", format!("{} user, {} system, {share}% of a core", seconds(user), seconds(system))));
    }
    if let (Some(time @ 1..), Some(periods)) = (used.throttled_usec, used.hits.cpu) {
        lines.push(("throttled", format!("{} in {periods} periods; cpu= allows more", seconds(time))));
    }
    if let Some(peak) = used.memory_peak_bytes {
        lines.push(("memory", format!("{} at most", approximate(peak))));
    }
    if let Some(count @ 1..) = used.hits.mem_high {
        lines.push(("", format!("slowed down {count} times; mem.high= allows more")));
    }
    if let Some(kills @ 1..) = used.oom_kills {
        lines.push(("", format!("{kills} killed because it ran out")));
    }
    if let Some(peak) = used.pids_peak {
        lines.push(("pids", format!("{peak} at most")));
    }
    if let (Some(read), Some(written)) = (used.io_read_bytes, used.io_written_bytes) {
        lines.push(("io", format!("{} read, {} written", approximate(read), approximate(written))));
    }
    let pressure = used.pressure_usec;
    let waited = [("cpu", pressure.cpu), ("memory", pressure.memory), ("io", pressure.io)];
    let waited: Vec<_> = waited.iter().filter_map(|(what, stall)| waited_for(what, *stall)).collect();
    if !waited.is_empty() {
        lines.push(("waited", waited.join(", ")));
    }
    lines.into_iter().fold(String::new(), |mut text, (what, line)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{what:9} {line}");
        text
    })
}

fn waited_for(what: &str, stall: Stall) -> Option<String> {
    stall.some.map(|time| format!("{} for {what}", seconds(time)))
}
