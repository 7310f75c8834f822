//! `--list`: the groups below the caller's own, or below a named one, with what they use; `--watch` does so
//! again each second.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use chain::{
    Result,
    table::{Column, Table, height, or_dash, width},
};
use serde::Serialize;

use crate::{
    group::{Group, tree},
    hierarchy::Hierarchies,
    human::{approximate, seconds},
    limits,
    usage::{Now, Used, pressure_now},
    value::Value,
};

/// How often --watch looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// How the list is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) json: bool,
    pub(crate) watch: bool,
}

/// A group of the list.
#[derive(Debug, Serialize)]
struct Row {
    group: String,
    processes: usize,
    /// Since the look before; not in the first.
    cpu_percent: Option<f64>,
    #[serde(flatten)]
    now: Now,
    #[serde(flatten)]
    used: Used,
    pressure_percent: Percent,
    #[serde(skip)]
    mem: Option<Value>,
    #[serde(skip)]
    pids: Option<Value>,
}

/// Parts of the last ten seconds in which some process waited.
#[derive(Debug, Serialize)]
struct Percent {
    cpu: Option<f64>,
    memory: Option<f64>,
    io: Option<f64>,
}

/// Prints it, once or for as long as it is let run.
pub(crate) fn list(hierarchies: &Hierarchies, name: &str, wish: Wish) -> Result<()> {
    let mut before = rows(hierarchies, name);
    let mut looked = Instant::now();
    let mut screen = Screen::new(wish);
    screen.show(&before)?;
    if !wish.watch {
        return Ok(());
    }
    loop {
        std::thread::sleep(INTERVAL);
        if Group::existing(hierarchies, name).is_empty() {
            return Ok(());
        }
        let mut rows = rows(hierarchies, name);
        let elapsed = looked.elapsed();
        looked = Instant::now();
        let known: BTreeMap<_, _> =
            before.iter().map(|row| (row.group.as_str(), row.used.cpu_usec())).collect();
        for row in &mut rows {
            let then = known.get(row.group.as_str()).copied().flatten();
            row.cpu_percent = percent(then, row.used.cpu_usec(), elapsed);
        }
        screen.show(&rows)?;
        before = rows;
    }
}

/// Of one core, with one decimal.
#[expect(clippy::cast_precision_loss, reason = "it is rounded to a decimal")]
fn percent(then: Option<u64>, now: Option<u64>, elapsed: Duration) -> Option<f64> {
    let used = now?.checked_sub(then?)?;
    Some((used as f64 * 1000.0 / elapsed.as_micros().max(1) as f64).round() / 10.0)
}

/// The group and all below it, each after the one that holds it, whichever trees they are in.
fn rows(hierarchies: &Hierarchies, name: &str) -> Vec<Row> {
    let mut names = BTreeSet::from([PathBuf::new()]);
    for (_, own) in hierarchies.trees() {
        let top = own.join(name);
        names.extend(tree(&top).iter().filter_map(|dir| dir.strip_prefix(&top).ok().map(Path::to_path_buf)));
    }
    let full = |below: PathBuf| if name == "." { below } else { Path::new(name).join(below) };
    names.into_iter().map(full).map(|name| row(hierarchies, &name)).collect()
}

fn row(hierarchies: &Hierarchies, name: &Path) -> Row {
    let mut group = Group::existing(hierarchies, name);
    let name = name.to_string_lossy();
    // The caller's own.
    if name.is_empty() {
        group.leave_out_roots();
    }
    let [cpu, memory, io] = pressure_now(&group);
    let name = name.trim_end_matches('/');
    Row {
        group: if name.is_empty() { ".".into() } else { chain::one_line(name) },
        processes: group.processes().len(),
        cpu_percent: None,
        now: Now::read(&group),
        used: Used::read(&group),
        pressure_percent: Percent { cpu, memory, io },
        mem: limits::get("mem", &group),
        pids: limits::get("pids", &group),
    }
}

/// Where the rows are shown.
struct Screen {
    wish: Wish,
    is_terminal: bool,
    is_fresh: bool,
}

impl Screen {
    fn new(wish: Wish) -> Self {
        let is_terminal = wish.watch && !wish.json && std::io::stdout().is_terminal();
        Self { wish, is_terminal, is_fresh: true }
    }

    fn show(&mut self, rows: &[Row]) -> Result<()> {
        let text = if self.wish.json { chain::json(&rows)? } else { table(rows, self.wish.watch) };
        let text = match (self.is_terminal, self.is_fresh) {
            (true, is_fresh) => frame(&text, is_fresh),
            (false, false) if !self.wish.json => format!("\n{text}"),
            (false, _) => text,
        };
        self.is_fresh = false;
        chain::print(&text).map(drop)
    }
}

/// The lines that the terminal has place for, over those that are there (ECMA-48: CUP, EL, ED).
fn frame(text: &str, is_fresh: bool) -> String {
    let lines = height().map_or(usize::MAX, |height| height.saturating_sub(1));
    let begin = if is_fresh { "\x1b[2J\x1b[H" } else { "\x1b[H" };
    let lines = text.lines().take(lines).flat_map(|line| [line, "\x1b[K\n"]);
    [begin].into_iter().chain(lines).chain(["\x1b[J"]).collect()
}

fn table(rows: &[Row], watch: bool) -> String {
    let mut table = Table::new([
        Column::Right("PROCS"),
        Column::Right("PIDS"),
        Column::Right("PIDS-MAX"),
        Column::Right("MEM"),
        Column::Right("MEM-PEAK"),
        Column::Right("MEM-MAX"),
        Column::Right(if watch { "%CPU" } else { "CPU" }),
        Column::Right("PSI-CPU"),
        Column::Right("PSI-MEM"),
        Column::Right("PSI-IO"),
        Column::Left("GROUP"),
    ]);
    let bytes = |bytes: Option<u64>| or_dash(bytes.map(approximate));
    let part = |part: Option<f64>| or_dash(part.map(|part| format!("{part:.1}")));
    for row in rows {
        let cpu = if watch { part(row.cpu_percent) } else { or_dash(row.used.cpu_usec().map(seconds)) };
        table.add([
            row.processes.to_string(),
            or_dash(row.now.pids),
            or_dash(row.pids.as_ref()),
            bytes(row.now.memory_bytes),
            bytes(row.used.memory_peak_bytes),
            or_dash(row.mem.as_ref()),
            cpu,
            part(row.pressure_percent.cpu),
            part(row.pressure_percent.memory),
            part(row.pressure_percent.io),
            row.group.clone(),
        ]);
    }
    table.text(width())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_of_a_core_is_that_of_the_time_between_two_looks() {
        assert_eq!(percent(Some(0), Some(500_000), Duration::from_secs(1)), Some(50.0));
        assert_eq!(percent(Some(7), Some(1_234_007), Duration::from_secs(2)), Some(61.7));
        assert_eq!(percent(None, Some(5), Duration::from_secs(1)), None);
        assert_eq!(percent(Some(9), Some(5), Duration::from_secs(1)), None);
    }

    #[test]
    fn a_frame_goes_over_the_one_before() {
        assert_eq!(frame("a\nb\n", true), "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert!(frame("a\n", false).starts_with("\x1b[Ha"));
    }
}
