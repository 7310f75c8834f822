//! The settings on this machine: which version of cgroups each belongs to here, what its value is in
//! numbers, and what the kernel made of it.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use chain::{Doing, Error, Limit, Remedy, Result, Size};
use nix::errno::Errno;

use crate::{
    devices::Devices,
    group::{Group, tree},
    hierarchy::{Hierarchies, Version},
    hugetlb, io,
    io_weight::Weights,
    misc,
    name::GroupName,
    oom::Whose,
    rdma,
    settings::{Key, Settings, find, keys},
    v1, v2,
    value::{Amount, Count, Form, Value},
};

/// Checks that each setting can be given here, before anything is made, and turns percentages into
/// numbers.
pub(crate) fn resolve(
    settings: &Settings,
    hierarchies: &Hierarchies,
    name: Option<&GroupName>,
) -> Result<Settings> {
    let existing = name.map(|name| Group::existing(hierarchies, name.as_str()));
    check_weight(settings, existing.as_ref())?;
    let settings = &match &existing {
        Some(group) => completed(settings.clone(), group),
        None => settings.clone(),
    };
    let mut resolved = settings.clone();
    for (key, value) in settings.given() {
        let setting = format!("{}={value}", key.name);
        let (version, own) = hierarchies.place_for(&setting, key.controller)?;
        let own = &hierarchies.above(own, name);
        let refused = match version {
            Version::V1 => v1::why_not(key.name, own),
            // It has all settings.
            Version::V2 => None,
        };
        if let Some((why, hint)) = refused {
            return Err(Error::new(setting, why).hint(hint));
        }
        if key.name == "cpu.period" && settings.get("cpu").is_none() {
            return Err(Error::new(setting, "a period without a limit").hint("add cpu="));
        }
        if key.name == "swap" && version == Version::V1 && is_limit(value) && !is_limited(settings, "mem") {
            return Err(Error::new(
                setting,
                "cgroup v1 limits swap together with memory, and that is not limited",
            )
            .hint("add mem="));
        }
        let number = match value {
            Value::Bytes(Limit::At(Amount::Part(part))) => {
                &Value::Bytes(Limit::At(Amount::Number(Size(part.of(memory_here(version, own))))))
            }
            Value::Count(Limit::At(Amount::Part(part))) => {
                let pids = u32::try_from(part.of(pids_here(own))).unwrap_or(u32::MAX).max(1);
                &Value::Count(Limit::At(Amount::Number(Count(pids))))
            }
            value => value,
        };
        let number = as_here(key, number, version, own).map_err(|error| {
            // What to write instead of a number.
            let error = if number == value { error } else { error.hint("take a larger part") };
            error.within(&setting)
        })?;
        resolved = resolved.with(key.name, Some(number));
    }
    check_times(settings)?;
    for raw in settings.raw() {
        hierarchies.place_for(&format!("{}={}", raw.file, raw.value), raw.controller())?;
    }
    Ok(resolved)
}

/// The same settings, with those that the kernel sets together with them as a named group has them.
fn completed(mut settings: Settings, group: &Group) -> Settings {
    let mut keep = |of: &str, name: &str| {
        let kept = if settings.has(of) && !settings.has(name) { get(name, group) } else { None };
        settings = std::mem::take(&mut settings).with(name, kept.filter(is_limit));
    };
    keep("swap", "mem");
    keep("cpu.period", "cpu");
    keep("cpu.burst", "cpu");
    keep("cpu", "cpu.period");
    if is_limited(&settings, "mem")
        && !settings.has("swap")
        && get("mem", group).is_some_and(|mem| is_limit(&mem))
    {
        settings = settings.with("swap", get("swap", group));
    }
    settings
}

fn is_limit(value: &Value) -> bool {
    !value.is_no_limit()
}

fn is_limited(settings: &Settings, name: &str) -> bool {
    settings.get(name).is_some_and(is_limit)
}

/// The smallest page that there is.
const PAGE: u64 = 4096;

/// Checks that the group that all is below has each of these processors or nodes.
fn check_list(key: Key, list: &str, version: Version, own: &Path) -> Result<()> {
    let file = match version {
        Version::V1 => format!("cpuset.{}", key.name),
        Version::V2 => format!("cpuset.{}.effective", key.name),
    };
    let Some(there) = read_text(own, &file) else { return Ok(()) };
    let there = there.trim();
    let has = members(there);
    match members(list).difference(&has).next() {
        Some(lacking) if !has.is_empty() => {
            Err(Error::new(lacking.to_string(), format!("the machine, or the group above, has {there}")))
        }
        _ => Ok(()),
    }
}

/// Checks what the kernel asks of the times together (tg_set_cfs_bandwidth() in kernel/sched/core.c): a period of 1 ms to
/// 1 s, at least 1 ms of it to run in, and no more saved up than that.
fn check_times(settings: &Settings) -> Result<()> {
    const MS: u128 = 1_000;
    let period = settings.cpu_period();
    if !(MS..=1_000 * MS).contains(&period) {
        return Err(Error::new(format!("cpu.period={period}us"), "the kernel takes 1ms to 1s"));
    }
    let Some(Value::Cores(Limit::At(cores))) = settings.get("cpu") else { return Ok(()) };
    let quota = cores.quota(period);
    if quota < MS {
        return Err(Error::new(
            format!("cpu={cores}"),
            format!("of each {period}us that is {quota}us, and the kernel gives at least 1ms"),
        )
        .hint("take a longer cpu.period="));
    }
    match settings.get("cpu.burst") {
        Some(Value::Time(burst)) if burst.0.as_micros() > quota => Err(Error::new(
            format!("cpu.burst={burst}"),
            format!("more than cpu={cores} is in each period, {quota}us"),
        )),
        _ => Ok(()),
    }
}

/// The kernel has one number for weight and idleness, and refuses the one where the other is set.
fn check_weight(settings: &Settings, existing: Option<&Group>) -> Result<()> {
    let Some(weight) = settings.get("cpu.weight") else { return Ok(()) };
    let is_idle = match settings.get("cpu.idle") {
        Some(value) => *value == Value::Switch(true),
        None => existing.is_some_and(|group| get("cpu.idle", group).is_some()),
    };
    if is_idle {
        return Err(Error::new(format!("cpu.weight={weight}"), "an idle group has no weight")
            .hint("give it when the group is to be idle no more, with cpu.idle=0"));
    }
    Ok(())
}

/// Whether it is for whoever waits for the command to end all others when one is killed for memory.
pub(crate) fn ends_whole_group(settings: &Settings, hierarchies: &Hierarchies) -> bool {
    let is_on_v1 = hierarchies.place("memory").is_some_and(|(version, _)| version == Version::V1);
    is_on_v1 && settings.get("oom.group") == Some(&Value::Switch(true))
}

/// Finds the things that a value names, and refuses those that this machine does not have.
fn as_here(key: Key, value: &Value, version: Version, own: &Path) -> Result<Value> {
    match value {
        Value::Rate(each) => return io::resolve(key.name, each, version, own).map(Value::Rate),
        Value::Iops(each) => return io::resolve(key.name, each, version, own).map(Value::Iops),
        Value::IoWeight(weights) => return weights.resolve(version, own).map(Value::IoWeight),
        Value::Devices(devices) => return devices.numbered().map(Value::Devices),
        Value::Rdma(each) => rdma::check(each, own)?,
        Value::Misc(each) => misc::check(each, own)?,
        Value::List(list) => check_list(key, list, version, own)?,
        Value::Bytes(Limit::At(Amount::Number(Size(bytes)))) if key.name == "mem" && *bytes < PAGE => {
            return Err(Error::new(
                format!("{bytes} bytes"),
                "less than a page of memory, which no command runs in",
            )
            .hint(format!("write a unit, such as {}M", (*bytes).max(1))));
        }
        _ if key.form == Form::HugePages => hugetlb::check(key)?,
        _ => {}
    }
    Ok(value.clone())
}

/// The controllers in whose trees a group of these settings needs a directory. cpuacct counts what cpu
/// limits.
pub(crate) fn controllers(settings: &Settings) -> BTreeSet<String> {
    let mut needed: BTreeSet<_> = settings.given().map(|(key, _)| key.controller.to_owned()).collect();
    needed.extend(settings.raw().iter().map(|raw| raw.controller().to_owned()));
    if needed.contains("cpu") {
        needed.insert("cpuacct".into());
    }
    needed
}

/// Writes the settings, whose percentages are resolved, to a group that has a directory for each. Says
/// on stderr if the kernel kept another value.
pub(crate) fn apply(settings: &Settings, group: &Group) -> Result<()> {
    for (key, value) in settings.given() {
        if group.place(key.controller).is_none() {
            continue;
        }
        let setting = format!("{}={value}", key.name);
        let is_to_idle = key.name == "cpu.idle" && *value == Value::Switch(true);
        let forgotten = if is_to_idle { get("cpu.weight", group) } else { None };
        set(key.name, settings, group).map_err(|error| error.within(&setting))?;
        if let Some(weight) = forgotten {
            let what = format!("the kernel has forgotten cpu.weight={weight}; give it again with cpu.idle=0");
            chain::note("cg-set", &format!("{setting}: {what}"));
        }
        if let Some(dir) = stopped_by(key.name, value, group) {
            let why =
                format!("the group {} has freeze=1, so that what is below it stays stopped", dir.display());
            chain::note("cg-set", &format!("{setting}: {why}"));
        }
        let kept = get_key(key, group);
        if differs(value, kept.as_ref()) {
            let kept = kept.map_or("the default".into(), |kept| kept.to_string());
            chain::note("cg-set", &format!("{setting}: the kernel made it {kept}"));
        }
    }
    for raw in settings.raw() {
        let Some((_, dir)) = group.place(raw.controller()) else { continue };
        write(dir, &raw.file, &raw.value)
            .remedy(Errno::EINVAL, "the kernel does not take this value")
            .remedy(Errno::ERANGE, "the kernel does not take this value")
            .map_err(|error| error.within(&format!("{}={}", raw.file, raw.value)))?;
    }
    Ok(())
}

/// The group above that keeps one stopped that is to go on.
fn stopped_by(name: &str, value: &Value, group: &Group) -> Option<PathBuf> {
    if name != "freeze" || *value != Value::Switch(false) {
        return None;
    }
    let is_stopped = |above: &Group| get("freeze", above).is_some();
    let above = std::iter::successors(group.above(), Group::above).find(is_stopped)?;
    above.place("freezer").map(|(_, dir)| dir.to_path_buf())
}

/// Writes the setting of this name to a group, without the words of the setting in its errors.
pub(crate) fn set(name: &str, settings: &Settings, group: &Group) -> Result<()> {
    let (Some(key), Some(value)) = (find(name), settings.get(name)) else { return Ok(()) };
    let Some((version, dir)) = group.place(key.controller) else { return Ok(()) };
    match (value, version) {
        (Value::Rate(each), _) => io::set(name, each, |rate| rate.0, version, dir),
        (Value::Iops(each), _) => io::set(name, each, u64::from, version, dir),
        (Value::IoWeight(weights), _) => weights.set(version, dir),
        (Value::Devices(devices), _) => devices.set(version, dir),
        (Value::Rdma(each), _) => rdma::set(each, dir),
        (Value::Misc(each), _) => misc::set(each, dir),
        (Value::Bytes(bytes), _) if key.form == Form::HugePages => hugetlb::set(key, *bytes, version, dir),
        (_, Version::V1) => v1::set(name, settings, dir),
        (_, Version::V2) => {
            if let ("mem", Value::Bytes(Limit::At(Amount::Number(Size(bytes))))) = (name, value)
                && !group.is_new(dir)
            {
                v2::make_room(dir, *bytes)?;
            }
            v2::set(name, settings, dir)
        }
    }
}

/// What the kernel has for each setting of a group, where the group has a directory for it and the
/// setting is not as in every new group.
pub(crate) fn read(group: &Group) -> Settings {
    keys().fold(Settings::default(), |settings, name| {
        let value = get(&name, group);
        settings.with(&name, value)
    })
}

/// Whether anything is set on a group. On v1 each has the processors, nodes and devices of the one above it.
pub(crate) fn has_limits(group: &Group) -> bool {
    let is_inherited = |value: &Value| matches!(value, Value::List(_) | Value::Devices(_));
    read(group).given().any(|(_, value)| is_limit(value) && !is_inherited(value))
}

/// What the kernel has for the setting of this name, as [`read`] tells it.
pub(crate) fn get(name: &str, group: &Group) -> Option<Value> {
    find(name).and_then(|key| get_key(key, group))
}

fn get_key(key: Key, group: &Group) -> Option<Value> {
    let (version, dir) = group.place(key.controller)?;
    match (key.form, version) {
        (Form::Rate | Form::Iops, _) => io::get(key.name, version, dir),
        (Form::HugePages, _) => hugetlb::get(key, version, dir),
        (Form::Devices, _) => Devices::get(version, dir).map(Value::Devices),
        (Form::Rdma, _) => rdma::get(dir),
        (Form::Misc, _) => misc::get(dir),
        (Form::IoWeight, _) => Weights::get(version, dir).map(Value::IoWeight),
        (_, Version::V1) => v1::get(key.name, dir),
        (_, Version::V2) => v2::get(key.name, dir),
    }
}

/// Whether it is more than the rounding to pages and the order of a list, in what was asked for.
fn differs(asked: &Value, kept: Option<&Value>) -> bool {
    const PAGE: u64 = 4096;
    let nothing = asked.nothing();
    match (asked, kept.or(nothing.as_ref())) {
        (Value::Rate(asked), Some(Value::Rate(kept))) => !asked.are_kept_in(kept),
        (Value::Iops(asked), Some(Value::Iops(kept))) => !asked.are_kept_in(kept),
        (Value::IoWeight(asked), Some(Value::IoWeight(kept))) => !asked.are_kept_in(kept),
        (Value::Misc(asked), Some(Value::Misc(kept))) => !asked.are_kept_in(kept),
        (Value::Rdma(asked), Some(Value::Rdma(kept))) => !rdma::is_kept_in(asked, kept),
        (
            Value::Bytes(Limit::At(Amount::Number(Size(asked)))),
            Some(Value::Bytes(Limit::At(Amount::Number(Size(kept))))),
        ) => asked / PAGE != kept / PAGE,
        (Value::List(asked), Some(Value::List(kept))) => members(asked) != members(kept),
        (asked, kept) => kept.is_some_and(|kept| asked != kept),
    }
}

/// The numbers in a list such as `0-3,7`.
pub(crate) fn members(list: &str) -> BTreeSet<u16> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        Some(from.parse().ok()?..=to.parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

/// The machine's memory, or the limit that the caller lives under if that is less.
fn memory_here(version: Version, own: &Path) -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        total.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    let limit = match version {
        Version::V1 => v1::memory_above(own),
        Version::V2 => least_above(own, "memory.max"),
    };
    limit.unwrap_or(u64::MAX).min(machine.map_or(u64::MAX, |kib| kib.saturating_mul(1024)))
}

/// The same of processes.
fn pids_here(own: &Path) -> u64 {
    let machine = fs::read_to_string("/proc/sys/kernel/pid_max").ok();
    let machine = machine.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    least_above(own, "pids.max").unwrap_or(u64::MAX).min(machine)
}

/// The least number in this file of a group and of those above it, as far as they are seen.
fn least_above(own: &Path, file: &str) -> Option<u64> {
    let groups = own.ancestors().take_while(|dir| dir.join("cgroup.procs").exists());
    groups.filter_map(|dir| read_number(dir, file)).min()
}

/// Why a memory limit may not be lowered.
pub(crate) const IN_USE: &str = "the group uses more than that now, and it cannot be freed";

/// What to do if a group may not be changed.
pub(crate) const DELEGATE: &str = "run as root, or in a group that is delegated to you";

/// Writes to a file of a group, which is not created where it is missing: a filesystem of groups refuses
/// that by another name.
pub(crate) fn put(file: &Path, value: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).open(file)?.write_all(value.as_bytes())
}

/// Writes a file of a group.
pub(crate) fn write(dir: &Path, file: &str, value: &str) -> Result<()> {
    let path = dir.join(file);
    put(&path, value)
        .doing(|| format!("write {value} to {}", path.display()))
        .remedy(Errno::ENOENT, "this kernel does not have it, or not for this group")
        .remedy(Errno::EACCES, DELEGATE)
}

/// The kernel refuses a quota that is less than what may be saved up. `cpu.burst` is set after it.
pub(crate) fn save_up_less(dir: &Path, burst: &str, quota: u128) -> Result<()> {
    let is_more = read_number(dir, burst).is_some_and(|burst| u128::from(burst) > quota);
    if is_more { write(dir, burst, "0") } else { Ok(()) }
}

/// The kernel refuses a weight for a group that is idle. `cpu.idle` is set after it.
pub(crate) fn be_idle_no_more(settings: &Settings, dir: &Path) -> Result<()> {
    let is_to_wake = settings.get("cpu.idle") == Some(&Value::Switch(false));
    if is_to_wake { write(dir, "cpu.idle", "0") } else { Ok(()) }
}

/// Reads a file that the kernel makes up when it is read. It has no size to ask for, as fs::read would, and
/// most of them fit in a page.
pub(crate) fn read_made_up(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(4096);
    File::open(file)?.take(u64::MAX).read_to_end(&mut text)?;
    Ok(text)
}

pub(crate) fn read_text(dir: &Path, file: &str) -> Option<String> {
    const PAGE: usize = 4096;
    let mut text = vec![0; PAGE];
    let mut opened = File::open(dir.join(file)).ok()?;
    let length = opened.read(&mut text).ok()?;
    text.truncate(length);
    // The kernel stops before a line that does not fit (seq_read_iter() in fs/seq_file.c), so if there was
    // place for any more lines, these were all.
    if length > PAGE / 2 {
        opened.read_to_end(&mut text).ok()?;
    }
    Some(str::from_utf8(&text).ok()?.trim().to_owned())
}

pub(crate) fn read_number(dir: &Path, file: &str) -> Option<u64> {
    read_text(dir, file)?.parse().ok()
}

/// The number after `name` in a file of lines such as `oom_kill 3`.
pub(crate) fn read_field(dir: &Path, file: &str, name: &str) -> Option<u64> {
    let text = read_text(dir, file)?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// The sum of a number over a group's directory and all below it, where the kernel counts each for itself.
pub(crate) fn sum(dir: &Path, number: impl Fn(&Path) -> Option<u64>) -> Option<u64> {
    tree(dir).iter().filter_map(|dir| number(dir)).reduce(u64::saturating_add)
}

/// How the group of a command whose memory ran out stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Processes that were killed in it because memory ran out, there or above it.
    pub(crate) kills: u64,
    /// Whether it has used all that it may.
    pub(crate) was_full: bool,
    /// Whose limit killed them, as far as can be told without the kernel's log.
    pub(crate) whose: Whose,
}

/// `None` if the group has no memory directory.
pub(crate) fn memory(group: &Group) -> Option<Memory> {
    let (version, dir) = group.place("memory")?;
    match version {
        Version::V1 => v1::memory(dir),
        Version::V2 => v2::memory(dir),
    }
}

/// How often processes of the group were slowed down because of `mem.high`, which v1 has not.
pub(crate) fn times_over_high(group: &Group) -> u64 {
    match group.place("memory") {
        Some((Version::V2, dir)) => v2::times_over_high(dir).unwrap_or(0),
        _ => 0,
    }
}

/// How often forks failed in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forks {
    pub(crate) refused: u64,
    /// Whose limit it was.
    pub(crate) whose: Whose,
}

/// `None` if the group has no pids directory, or the kernel does not count them (Linux 4.15).
pub(crate) fn forks(group: &Group) -> Option<Forks> {
    let (version, dir) = group.place("pids")?;
    let refused = match version {
        Version::V1 => v1::refused_forks(dir)?,
        Version::V2 => v2::refused_forks(dir)?,
    };
    // On v1, and on v2 before Linux 6.11, it is counted where the process is, whoever's limit it was.
    let was_full = || match (read_number(dir, "pids.peak"), read_number(dir, "pids.max")) {
        (Some(peak), Some(max)) => peak >= max,
        (_, max) => max.is_some(),
    };
    let whose = if refused == 0 || was_full() { Whose::Own } else { Whose::Above };
    Some(Forks { refused, whose })
}
