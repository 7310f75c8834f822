//! What a run found: a table for people, JSON for programs.

use std::{fmt, fs, thread};

use serde::Serialize;

use crate::{
    contest::Added,
    stats::{Ratio, median, ratio, ratio_of_added},
};

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) kernel: String,
    pub(crate) processors: usize,
    pub(crate) rounds: usize,
    pub(crate) groups: Vec<GroupReport>,
}

#[derive(Debug, Serialize)]
pub(crate) struct GroupReport {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What the medians are of.
    pub(crate) unit: &'static str,
    /// The one by whose median the others' are divided.
    pub(crate) reference: String,
    pub(crate) contestants: Vec<Line>,
    pub(crate) added: Vec<AddedLine>,
}

/// What one thing costs, of what it costs the one that is compared with.
#[derive(Debug, Serialize)]
pub(crate) struct AddedLine {
    pub(crate) what: &'static str,
    #[serde(flatten)]
    pub(crate) ratio: Ratio,
}

impl AddedLine {
    /// `None` if one of the four was not measured. `times` knows contestants by name.
    pub(crate) fn of<'a>(added: &Added, times: impl Fn(&str) -> Option<&'a [f64]>) -> Option<Self> {
        let pair = |[with, without]: [&str; 2]| Some([times(with)?, times(without)?]);
        Some(Self { what: added.what, ratio: ratio_of_added(pair(added.by)?, pair(added.reference)?) })
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) command: String,
    #[serde(flatten)]
    pub(crate) result: Outcome,
}

impl Line {
    /// Whether it is wrong: what cannot run here is not.
    pub(crate) fn is_not_counted(&self) -> bool {
        matches!(self.result, Outcome::NotCounted { .. })
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome {
    Measured {
        median: f64,
        #[serde(flatten)]
        ratio: Ratio,
    },
    /// It does not give what the others give, for this reason.
    NotCounted { not_counted: String },
    /// It cannot run on this machine, for this reason.
    NotHere { not_here: &'static str },
}

impl Outcome {
    pub(crate) fn of(times: &[f64], reference: &[f64]) -> Self {
        Self::Measured { median: median(times), ratio: ratio(times, reference) }
    }
}

impl Report {
    pub(crate) fn of_this_machine(rounds: usize) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = thread::available_parallelism().map_or(1, Into::into);
        Self { kernel: kernel.trim().into(), processors, rounds, groups: Vec::new() }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { kernel, processors, rounds, groups } = self;
        writeln!(f, "{rounds} rounds, interleaved; Linux {kernel}, {processors} processors")?;
        groups.iter().try_for_each(|group| write!(f, "\n{group}"))
    }
}

impl fmt::Display for GroupReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let unit = self.unit;
        let width = self.contestants.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        let pad = " ".repeat(width);
        writeln!(f, "{}: {}", self.name, self.what)?;
        writeln!(f, "  {pad}     median  of {}'s (95 % interval)", self.reference)?;
        for line in &self.contestants {
            write!(f, "  {:width$}  ", line.name)?;
            match &line.result {
                Outcome::Measured { median, ratio: Ratio { value, low, high } } => {
                    write!(f, "{median:>6.0} {unit:<3} {value:.3} ({low:.3} to {high:.3})")?;
                }
                Outcome::NotCounted { not_counted } => write!(f, "not counted: {not_counted}")?,
                Outcome::NotHere { not_here } => write!(f, "does not run here: {not_here}")?,
            }
            writeln!(f, "  {}", line.command)?;
        }
        self.added.iter().try_for_each(|AddedLine { what, ratio: Ratio { value, low, high } }| {
            writeln!(f, "  {what}: {value:.3} ({low:.3} to {high:.3})")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let line =
            |name: &str, command: &str, result| Line { name: name.into(), command: command.into(), result };
        let contestants = vec![
            line(
                "unshare",
                "unshare -u true",
                Outcome::of(&[1000.0, 1200.0, 1100.0], &[1000.0, 1200.0, 1100.0]),
            ),
            line("ours", "ours uts true", Outcome::of(&[500.0, 600.0, 550.0], &[1000.0, 1200.0, 1100.0])),
            line("none", "env true", Outcome::NotCounted { not_counted: "gives nothing".into() }),
            line("away", "away true", Outcome::NotHere { not_here: "no such thing" }),
        ];
        let added =
            Added { what: "more, of unshare's", by: ["more", "less"], reference: ["unshare", "ours"] };
        let added = AddedLine::of(&added, |name| {
            Some(match name {
                "more" => &[30.0, 30.0],
                "less" | "unshare" => &[20.0, 20.0],
                _ => &[15.0, 15.0],
            })
        });
        let added = added.into_iter().collect();
        let group = GroupReport {
            name: "uts",
            what: "a name",
            unit: "us",
            reference: "unshare".into(),
            contestants,
            added,
        };
        Report { kernel: "6.1".into(), processors: 2, rounds: 3, groups: vec![group] }
    }

    #[test]
    fn the_table_has_a_line_for_each() {
        let expected = "\
3 rounds, interleaved; Linux 6.1, 2 processors

uts: a name
              median  of unshare's (95 % interval)
  unshare    1100 us  1.000 (1.000 to 1.000)  unshare -u true
  ours        550 us  0.500 (0.500 to 0.500)  ours uts true
  none     not counted: gives nothing  env true
  away     does not run here: no such thing  away true
  more, of unshare's: 2.000 (2.000 to 2.000)
";
        assert_eq!(report().to_string(), expected);
    }

    #[test]
    fn json_has_the_same() {
        let json = serde_json::to_value(report()).expect("plain data");
        let ours = &json["groups"][0]["contestants"][1];
        assert_eq!(ours["ratio"], 0.5);
        assert_eq!(ours["median"], 550.0);
        assert_eq!(json["groups"][0]["contestants"][2]["not_counted"], "gives nothing");
        assert_eq!(json["groups"][0]["contestants"][3]["not_here"], "no such thing");
        assert_eq!(json["groups"][0]["added"][0]["ratio"], 2.0);
    }
}
