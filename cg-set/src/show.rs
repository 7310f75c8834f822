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
    limits, process,
    settings::Settings,
    usage::{Now, Used},
    value::{Amount, Value},
};

/// A limit on the group or on one above it.
#[derive(Debug)]
struct Bound {
    setting: String,
    value: Value,
    /// Which group has it, seen from the caller's own: `jobs`, `.`, `..`.
    group: String,
    now: Now,
    used: Used,
}

/// The settings that hold for a group where they are less on one above it.
const INHERITED: [&str; 10] =
    ["mem", "mem.high", "cpu", "pids", "freeze", "io.read", "io.write", "io.riops", "io.wiops", "devices"];
/// Those that are shown without a limit too, for what is used.
const ALWAYS: [(&str, Value); 3] = [
    ("mem", Value::Bytes(Limit::Max)),
    ("cpu", Value::Cores(Limit::Max)),
    ("pids", Value::Count(Limit::Max)),
];

/// What holds for the group `name`, in the order of the settings, its own before those above it.
fn bounds(name: &str, group: Group) -> Vec<Bound> {
    let mut found = Vec::new();
    let mut level = Some((name.to_owned(), group));
    let mut is_own = true;
    while let Some((name, group)) = level {
        let settings = limits::read(&group);
        let (now, used) = (Now::read(&group), Used::read(&group));
        for (key, value) in settings.given() {
            let holds = if is_own {
                !value.is_no_limit()
            } else {
                INHERITED.contains(&key.name) && binds(value, &found, key.name)
            };
            if holds {
                let (value, group) = (value.clone(), name.clone());
                found.push(Bound { setting: key.name.to_owned(), value, group, now, used });
            }
        }
        if is_own {
            let is_there = |setting: &str| {
                Settings::controller_of(setting).is_some_and(|controller| group.place(controller).is_some())
            };
            for (setting, value) in ALWAYS {
                if is_there(setting) && !found.iter().any(|bound| bound.setting == setting) {
                    found.push(Bound { setting: setting.to_owned(), value, group: name.clone(), now, used });
                }
            }
        }
        is_own = false;
        level = group.above().map(|above| (above_name(&name), above));
    }
    found.sort_by_key(|bound| Settings::rank(&bound.setting));
    found
}

/// Whether a limit of a group above is less than those that were found below it.
fn binds(value: &Value, below: &[Bound], setting: &str) -> bool {
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
    for bound in bounds(name, group) {
        let (now, peak, hits) = usage_of(&bound);
        limits.add([bound.setting, bound.value.to_string(), now, peak, hits, bound.group]);
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
    let Bound { now, used, .. } = bound;
    match bound.setting.as_str() {
        "mem" => (bytes(now.memory_bytes), bytes(used.memory_peak_bytes), or_dash(used.hits.mem)),
        "mem.high" => (bytes(now.memory_bytes), bytes(used.memory_peak_bytes), or_dash(used.hits.mem_high)),
        "cpu" => (or_dash(used.cpu_usec().map(seconds)), "-".into(), or_dash(used.hits.cpu)),
        "pids" => (or_dash(now.pids), or_dash(used.pids_peak), or_dash(used.hits.pids)),
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
    limits: Vec<Entry>,
    #[serde(flatten)]
    now: Now,
    #[serde(flatten)]
    used: Used,
    processes: Vec<Running>,
}

#[derive(Serialize)]
struct Entry {
    setting: String,
    value: String,
    group: String,
}

/// The group as a line of JSON.
pub(crate) fn json(name: &str, group: Group) -> Result<String> {
    let (now, used, processes) = (Now::read(&group), Used::read(&group), processes(&group));
    let entry =
        |bound: Bound| Entry { setting: bound.setting, value: bound.value.to_string(), group: bound.group };
    let limits = bounds(name, group).into_iter().filter(|bound| !bound.value.is_no_limit());
    chain::json(&Shown { group: name, limits: limits.map(entry).collect(), now, used, processes })
}

impl Value {
    /// Whether it is `max`.
    pub(crate) fn is_no_limit(&self) -> bool {
        matches!(self, Self::Bytes(Limit::Max) | Self::Cores(Limit::Max) | Self::Count(Limit::Max))
            || *self == Self::Devices(Devices::ALL)
    }

    /// Whether a group of `other` is held to this, if it is set on one above it.
    fn is_less_than(&self, other: &Self) -> bool {
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
        assert!(!mem("8M").is_less_than(&mem("8M")) && !mem("8M").is_less_than(&mem("4M")));
    }
}
