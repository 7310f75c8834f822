//! A named group for people and for programs: the limits that bind it, what it uses, what runs in it.

use chain::{
    Limit, Result, Size,
    table::{Column, Table, or_dash, width},
};
use serde::Serialize;

use crate::{
    devices::Devices,
    group::Group,
    human::{approximate, seconds},
    limits::{self, members},
    process, rdma,
    settings::Settings,
    usage::{Now, Used},
    value::{Amount, Value},
};

/// The group, or one above it, with what it has and uses.
struct Level {
    /// Seen from the caller's own: `jobs`, `.`, `..`.
    name: String,
    group: Group,
    settings: Settings,
    now: Now,
    used: Used,
}

impl Level {
    fn read(name: String, group: Group) -> Self {
        let (settings, now, used) = (limits::read(&group), Now::read(&group), Used::read(&group));
        Self { name, group, settings, now, used }
    }

    fn above(&self) -> Option<Self> {
        self.group.above().map(|above| Self::read(above_name(&self.name), above))
    }

    fn has_place_for(&self, setting: &str) -> bool {
        Settings::controller_of(setting).is_some_and(|controller| self.group.place(controller).is_some())
    }
}

/// A limit, and the level that has it.
struct Bound<'a> {
    setting: &'a str,
    value: Value,
    level: &'a Level,
}

/// The settings that hold for a group where they are less on one above it.
const INHERITED: [&str; 15] = [
    "mem", "swap", "mem.high", "cpu", "cpus", "mems", "pids", "freeze", "io.read", "io.write", "io.riops",
    "io.wiops", "devices", "rdma", "misc",
];

fn is_inherited(setting: &str) -> bool {
    INHERITED.contains(&setting) || setting.starts_with("hugetlb.")
}

/// Those that are shown without a limit too, for what is used.
const ALWAYS: [(&str, Value); 3] = [
    ("mem", Value::Bytes(Limit::Max)),
    ("cpu", Value::Cores(Limit::Max)),
    ("pids", Value::Count(Limit::Max)),
];

/// The group `name` and those above it.
fn levels(name: &str, group: Group) -> Vec<Level> {
    let own = Level::read(name.to_owned(), group);
    std::iter::successors(Some(own), Level::above).collect()
}

/// What holds for the first of these, in the order of the settings, its own before those above it.
fn bounds(levels: &[Level]) -> Vec<Bound<'_>> {
    let mut found: Vec<Bound> = Vec::new();
    for (height, level) in levels.iter().enumerate() {
        let below = found.len();
        for (key, value) in level.settings.given() {
            let holds = match height {
                0 => !value.is_no_limit(),
                _ => is_inherited(key.name) && binds(value, &found[..below], key.name),
            };
            if holds {
                found.push(Bound { setting: key.name, value: value.clone(), level });
            }
        }
        if height == 0 {
            for (setting, value) in ALWAYS {
                if level.has_place_for(setting) && !found.iter().any(|bound| bound.setting == setting) {
                    found.push(Bound { setting, value, level });
                }
            }
        }
    }
    found.sort_by_key(|bound| Settings::rank(bound.setting));
    found
}

/// Whether a limit of a group above is less than those that were found below it.
fn binds(value: &Value, below: &[Bound], setting: &str) -> bool {
    let has = |name: &str| below.iter().any(|bound| bound.setting == name && !bound.value.is_no_limit());
    // A limit on memory alone allows no swap, and there is no less.
    if setting == "swap" && has("mem") && !has("swap") {
        return false;
    }
    let mut others = below.iter().filter(|bound| bound.setting == setting);
    !value.is_no_limit() && others.all(|other| value.is_less_than(&other.value))
}

/// The group above one: `a` above `a/b`, `.` above `a`, `..` above `.`.
fn above_name(name: &str) -> String {
    match name.rsplit_once('/') {
        Some((_, "..")) => format!("{name}/.."),
        Some((above, _)) => above.to_owned(),
        None if name == "." => "..".into(),
        None if name == ".." => "../..".into(),
        None => ".".into(),
    }
}

/// The group as a table.
pub(crate) fn table(name: &str, group: Group) -> String {
    let processes = processes(&group);
    let mut limits = Table::new([
        Column::Left("SETTING"),
        Column::Right("VALUE"),
        Column::Right("NOW"),
        Column::Right("PEAK"),
        Column::Right("HITS"),
        Column::Left("GROUP"),
    ]);
    for bound in bounds(&levels(name, group)) {
        let (now, peak, hits) = usage_of(&bound);
        let (setting, group) = (bound.setting.to_owned(), bound.level.name.clone());
        limits.add([setting, bound.value.to_string(), now, peak, hits, group]);
    }
    let mut running = Table::new([Column::Right("PID"), Column::Left("COMMAND")]);
    for process in &processes {
        running.add([process.pid.to_string(), process.command.clone().unwrap_or_else(|| "?".into())]);
    }
    let running = if processes.is_empty() { "no processes\n".into() } else { running.text(width()) };
    format!("{}\n{running}", limits.text(width()))
}

/// What is used of a limit now, at most, and how often it was reached.
fn usage_of(bound: &Bound) -> (String, String, String) {
    let bytes = |bytes: Option<u64>| or_dash(bytes.map(approximate));
    let Level { now, used, .. } = bound.level;
    match bound.setting {
        "mem" => (bytes(now.memory_bytes), bytes(used.memory_peak_bytes), or_dash(used.hits.mem)),
        "mem.high" => (bytes(now.memory_bytes), bytes(used.memory_peak_bytes), or_dash(used.hits.mem_high)),
        "cpu" => (or_dash(used.cpu_usec().map(seconds)), "-".into(), or_dash(used.hits.cpu)),
        "pids" => {
            // On some kernels a group also counts the forks that a limit above it refused.
            let hits = used.hits.pids.filter(|_| !bound.value.is_no_limit());
            (or_dash(now.pids), or_dash(used.pids_peak), or_dash(hits))
        }
        _ => ("-".into(), "-".into(), "-".into()),
    }
}

/// A process of the group.
#[derive(Debug, Serialize)]
pub(crate) struct Running {
    pid: i32,
    command: Option<String>,
}

fn processes(group: &Group) -> Vec<Running> {
    let named = |pid| Running { pid, command: process::name(pid).map(|name| chain::one_line(&name)) };
    group.processes().into_iter().map(named).collect()
}

/// The same for programs.
#[derive(Serialize)]
struct Shown<'a> {
    group: &'a str,
    limits: Vec<Entry<'a>>,
    #[serde(flatten)]
    now: Now,
    #[serde(flatten)]
    used: Used,
    processes: Vec<Running>,
}

#[derive(Serialize)]
struct Entry<'a> {
    setting: &'a str,
    value: String,
    group: &'a str,
}

/// The group as a line of JSON.
pub(crate) fn json(name: &str, group: Group) -> Result<String> {
    let processes = processes(&group);
    let levels = levels(name, group);
    let Level { now, used, .. } = levels[0];
    let limits = bounds(&levels).into_iter().filter(|bound| !bound.value.is_no_limit());
    let limits = limits.map(|bound| Entry {
        setting: bound.setting,
        value: bound.value.to_string(),
        group: &bound.level.name,
    });
    chain::json(&Shown { group: name, limits: limits.collect(), now, used, processes })
}

impl Value {
    /// Whether it is `max`.
    pub(crate) fn is_no_limit(&self) -> bool {
        matches!(self, Self::Bytes(Limit::Max) | Self::Cores(Limit::Max) | Self::Count(Limit::Max))
            || *self == Self::Devices(Devices::ALL)
    }

    /// Whether a group of `other` is held to this, if it is set on one above it.
    pub(crate) fn is_less_than(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Bytes(Limit::At(Amount::Number(Size(one)))),
                Self::Bytes(Limit::At(Amount::Number(Size(two)))),
            ) => one < two,
            (Self::Cores(Limit::At(one)), Self::Cores(Limit::At(two))) => one.0 < two.0,
            (Self::Count(Limit::At(Amount::Number(one))), Self::Count(Limit::At(Amount::Number(two)))) => {
                one.0 < two.0
            }
            (Self::Rate(one), Self::Rate(two)) => one.are_less_than(two),
            (Self::Iops(one), Self::Iops(two)) => one.are_less_than(two),
            (Self::Devices(one), Self::Devices(two)) => one.refuses_some_of(two),
            (Self::Misc(one), Self::Misc(two)) => one.are_less_than(two),
            (Self::Rdma(one), Self::Rdma(two)) => rdma::are_less_than(one, two),
            (Self::List(one), Self::List(two)) => !members(two).is_subset(&members(one)),
            (_, other) => other.is_no_limit(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_groups_above_are_named_from_the_callers_own() {
        let mut name = "a/b".to_owned();
        let mut names = Vec::new();
        for _ in 0..5 {
            name = above_name(&name);
            names.push(name.clone());
        }
        assert_eq!(names, ["a", ".", "..", "../..", "../../.."]);
    }

    #[test]
    fn a_limit_above_binds_if_it_is_less() {
        let mem = |text: &str| crate::value::Form::Bytes.parse(text).expect("a size");
        assert!(mem("4M").is_less_than(&mem("max")) && mem("4M").is_less_than(&mem("8M")));
        let io = |text: &str| crate::value::Form::Rate.parse(text).expect("rates");
        assert!(io("8:0:2M,8:16:2M").is_less_than(&io("8:0:1M")));
        assert!(io("8:0:1M,8:16:1M").is_less_than(&io("8:0:2M,8:16:1M")));
        assert!(!io("8:0:2M").is_less_than(&io("8:0:1M,8:16:1M")));
        let list = |text: &str| crate::value::Form::List.parse(text).expect("a list");
        assert!(list("0-1").is_less_than(&list("1,2")) && !list("0-3").is_less_than(&list("2,1")));
        let misc = |text: &str| crate::value::Form::Misc.parse(text).expect("resources");
        assert!(misc("sev:1").is_less_than(&misc("sev:2")) && !misc("sev:2").is_less_than(&misc("sev:1")));
        assert!(!mem("8M").is_less_than(&mem("8M")) && !mem("8M").is_less_than(&mem("4M")));
    }
}
