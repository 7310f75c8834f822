//! The settings as files of cgroup v1 (Documentation/admin-guide/cgroup-v1/ of the kernel).

use std::path::Path;

use chain::{Limit, Remedy, Result, Size};
use nix::errno::Errno;

use crate::{
    limits::{IN_USE, Memory, be_idle_no_more, read_field, read_number, read_text, save_up_less, sum, write},
    oom::Whose,
    settings::Settings,
    usage::{Now, Used},
    value::{Amount, Cores, Count, Value, in_numbers, limit},
};

const MEMORY: &str = "memory.limit_in_bytes";
const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
const SOFT_LIMIT: &str = "memory.soft_limit_in_bytes";
const QUOTA: &str = "cpu.cfs_quota_us";
const PERIOD: &str = "cpu.cfs_period_us";
const BURST: &str = "cpu.cfs_burst_us";
const SHARES: &str = "cpu.shares";
/// What the kernel shows for no memory limit: the largest multiple of the page size (mm/page_counter.c).
const NO_MEMORY_LIMIT: u64 = 0x7fff_ffff_ffff_f000;

/// Why a setting cannot be given, and what to do about it.
pub(crate) fn why_not(name: &str, own: &Path) -> Option<(&'static str, &'static str)> {
    let is_there = |file: &str| own.join(file).exists();
    match name {
        "mem" | "swap" if !is_there(MEMORY_AND_SWAP) => {
            Some(("this kernel does not count swap, so it cannot be limited", "boot it with swapaccount=1"))
        }
        // The group at the root has no limit of its own, but has shares.
        "cpu" if !is_there(PERIOD) && !is_there(SHARES) => {
            Some(("this kernel cannot limit processor time", "it needs CONFIG_CFS_BANDWIDTH"))
        }
        "mem.high" | "mem.min" => Some((
            "cgroup v1, which has the memory controller here, has no such setting",
            "boot with systemd.unified_cgroup_hierarchy=1 to have it on v2",
        )),
        _ => None,
    }
}

/// Writes the setting of this name to a group.
pub(crate) fn set(name: &str, settings: &Settings, dir: &Path) -> Result<()> {
    match (name, settings.get(name)) {
        ("mem", Some(Value::Bytes(mem))) => set_memory(dir, *mem, swap(settings)),
        ("mem.low", Some(Value::Bytes(low))) => write(dir, SOFT_LIMIT, &bytes(*low)),
        ("cpu", Some(Value::Cores(cores))) => {
            let period = settings.cpu_period();
            let quota = match cores {
                Limit::Max => None,
                Limit::At(cores) => Some(cores.quota(period)),
            };
            set_cpu(dir, quota, period)
                .remedy(Errno::EINVAL, "it must not pass the cpu limit of a group above it")
        }
        ("cpu.burst", Some(Value::Time(burst))) => write(dir, BURST, &burst.0.as_micros().to_string()),
        ("cpu.weight", Some(Value::Weight(weight))) => {
            be_idle_no_more(settings, dir)?;
            write(dir, SHARES, &shares(*weight).to_string())
        }
        ("freeze", Some(Value::Switch(on))) => {
            write(dir, "freezer.state", if *on { "FROZEN" } else { "THAWED" })
        }
        (name, Some(value)) => match file(name) {
            Some(file) => write(dir, file, &in_numbers(value))
                .remedy(Errno::EBUSY, "a group below it, or what runs in it, needs what it would lose"),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn file(name: &str) -> Option<&'static str> {
    match name {
        "cpu.idle" => Some("cpu.idle"),
        "cpus" => Some("cpuset.cpus"),
        "mems" => Some("cpuset.mems"),
        "pids" => Some("pids.max"),
        _ => None,
    }
}

/// How much swap is allowed besides the memory: none unless it is said.
fn swap(settings: &Settings) -> Limit<Amount<Size>> {
    match settings.get("swap") {
        Some(Value::Bytes(swap)) => *swap,
        _ => Limit::At(Amount::Number(Size(0))),
    }
}

/// The kernel refuses a memory limit above that of memory and swap at every moment. If it does, the one for
/// both goes up first, else last.
fn set_memory(dir: &Path, memory: Limit<Amount<Size>>, swap: Limit<Amount<Size>>) -> Result<()> {
    let both = match (memory, swap) {
        (Limit::At(Amount::Number(Size(memory))), Limit::At(Amount::Number(Size(swap)))) => {
            Limit::At(Amount::Number(Size(memory.saturating_add(swap))))
        }
        _ => Limit::Max,
    };
    let set = |file, limit| write(dir, file, &bytes(limit)).remedy(Errno::EBUSY, IN_USE);
    match set(MEMORY, memory) {
        Err(error) if error.errno() == Some(Errno::EINVAL) => {
            set(MEMORY_AND_SWAP, both)?;
            set(MEMORY, memory)
        }
        done => done.and_then(|()| set(MEMORY_AND_SWAP, both)),
    }
}

/// The kernel refuses a quota that is too large for the period at every moment, so there is none
/// while the period changes.
fn set_cpu(dir: &Path, quota: Option<u128>, period: u128) -> Result<()> {
    if read_number(dir, PERIOD).map(u128::from) != Some(period) {
        write(dir, QUOTA, "-1")?;
        write(dir, PERIOD, &period.to_string())?;
    }
    if let Some(quota) = quota {
        save_up_less(dir, BURST, quota)?;
    }
    write(dir, QUOTA, &quota.map_or("-1".to_owned(), |quota| quota.to_string()))
}

fn bytes(limit: Limit<Amount<Size>>) -> String {
    match limit {
        Limit::At(Amount::Number(Size(bytes))) => bytes.to_string(),
        _ => "-1".into(),
    }
}

/// The kernel's own conversion (sched_weight_from_cgroup() in kernel/sched/sched.h): 100 is 1024.
fn shares(weight: u32) -> u32 {
    (weight * 1024 + 50) / 100
}

/// And back (sched_weight_to_cgroup()).
fn weight(shares: u64) -> u32 {
    u32::try_from((shares.saturating_mul(100) + 512) / 1024).unwrap_or(10_000).clamp(1, 10_000)
}

/// What the kernel has for the setting of this name; `None` too if that is what every group has.
pub(crate) fn get(name: &str, dir: &Path) -> Option<Value> {
    let memory = || read_number(dir, MEMORY);
    let of_bytes = |bytes| match bytes {
        NO_MEMORY_LIMIT.. => Value::Bytes(Limit::Max),
        bytes => Value::Bytes(Limit::At(Amount::Number(Size(bytes)))),
    };
    match name {
        "mem" => memory().map(of_bytes),
        "swap" => match (memory()?, read_number(dir, MEMORY_AND_SWAP)?) {
            (NO_MEMORY_LIMIT.., NO_MEMORY_LIMIT..) => None,
            (_, both @ NO_MEMORY_LIMIT..) => Some(of_bytes(both)),
            (memory, both) => Some(both.saturating_sub(memory)).filter(|swap| *swap > 0).map(of_bytes),
        },
        "mem.low" => read_number(dir, SOFT_LIMIT).filter(|bytes| *bytes < NO_MEMORY_LIMIT).map(of_bytes),
        "cpu" => Some(Value::Cores(match read_number(dir, QUOTA) {
            // -1: no limit.
            None => Limit::Max,
            Some(quota) => Limit::At(Cores::of_quota(quota, read_number(dir, PERIOD)?)),
        })),
        "cpu.period" => read_number(dir, PERIOD).filter(|period| *period != Cores::PERIOD).map(Value::micros),
        "cpu.burst" => read_number(dir, BURST).filter(|burst| *burst > 0).map(Value::micros),
        "cpu.weight" => {
            let weight = weight(read_number(dir, SHARES)?);
            // While the group is idle it is that of an idle one.
            Some(Value::Weight(weight)).filter(|_| weight != 100 && get("cpu.idle", dir).is_none())
        }
        "cpu.idle" => (read_text(dir, "cpu.idle")? == "1").then_some(Value::Switch(true)),
        // freezer.state is that of a group above too.
        "freeze" => (read_text(dir, "freezer.self_freezing")? == "1").then_some(Value::Switch(true)),
        "cpus" | "mems" => read_text(dir, file(name)?).filter(|list| !list.is_empty()).map(Value::List),
        "pids" => {
            let count = |number| Count(u32::try_from(number).unwrap_or(u32::MAX));
            Some(Value::Count(limit(&read_text(dir, "pids.max")?, count)?))
        }
        _ => None,
    }
}

/// The processes of the group itself that were killed because memory ran out, there or above it (Linux 4.13).
pub(crate) fn kills(dir: &Path) -> Option<u64> {
    read_field(dir, "memory.oom_control", "oom_kill")
}

/// The failcnt files should count how often a group was full,
/// but stay at 0 on Linux 6.18, so that is told from the peak; the kernel charges 64 pages at once
/// (MEMCG_CHARGE_BATCH in include/linux/memcontrol.h).
pub(crate) fn memory(dir: &Path) -> Option<Memory> {
    const BATCH: u64 = 64 * 4096;
    let kills = kills(dir)?;
    let limit = read_number(dir, MEMORY_AND_SWAP).unwrap_or(NO_MEMORY_LIMIT);
    let was_full = read_number(dir, "memory.memsw.max_usage_in_bytes")
        .is_some_and(|peak| peak.saturating_add(BATCH) >= limit);
    let whose = if was_full { Whose::Own } else { Whose::Above };
    Some(Memory { kills, was_full, whose })
}

/// What a controller's directory says of the group's use at this moment.
pub(crate) fn add_now(now: &mut Now, controller: &str, dir: &Path) {
    let number = |file: &str| read_number(dir, file);
    match controller {
        "memory" => {
            let both = number("memory.memsw.usage_in_bytes");
            now.memory_bytes = both.or_else(|| number("memory.usage_in_bytes"));
        }
        "pids" => now.pids = number("pids.current"),
        _ => {}
    }
}

/// What a controller's directory says of the group's use so far.
pub(crate) fn add_used(used: &mut Used, controller: &str, dir: &Path) {
    let number = |file: &str| read_number(dir, file);
    let micros = |nanos: Option<u64>| nanos.map(|nanos| nanos / 1_000);
    match controller {
        "memory" => {
            let both = number("memory.memsw.max_usage_in_bytes");
            used.memory_peak_bytes = both.or_else(|| number("memory.max_usage_in_bytes"));
            let memory = memory(dir);
            used.oom_kills = sum(dir, kills);
            // Where the kernel does not count it, each kill for this limit is one.
            let counted = number("memory.memsw.failcnt").max(number("memory.failcnt"));
            let kills = memory.filter(|memory| memory.was_full).map_or(0, |memory| memory.kills);
            used.hits.mem = counted.map(|counted| counted.max(kills));
        }
        "pids" => {
            used.pids_peak = number("pids.peak");
            used.hits.pids = sum(dir, refused_forks);
        }
        "cpu" => {
            used.throttled_usec = micros(read_field(dir, "cpu.stat", "throttled_time"));
            used.hits.cpu = read_field(dir, "cpu.stat", "nr_throttled");
        }
        "cpuacct" => {
            used.cpu_user_usec = micros(number("cpuacct.usage_user"));
            used.cpu_system_usec = micros(number("cpuacct.usage_sys"));
        }
        "blkio" => {
            let text = read_text(dir, "blkio.throttle.io_service_bytes_recursive");
            used.io_read_bytes = text.as_deref().and_then(|text| bytes_of(text, "Read"));
            used.io_written_bytes = text.as_deref().and_then(|text| bytes_of(text, "Write"));
        }
        _ => {}
    }
}

/// Counted where the process is that forked.
pub(crate) fn refused_forks(dir: &Path) -> Option<u64> {
    read_field(dir, "pids.events", "max")
}

/// The sum over all devices in lines such as `254:0 Read 4096`. `None` without one: Linux 6.18 counts only
/// for devices that some group has a limit on.
fn bytes_of(text: &str, what: &str) -> Option<u64> {
    let number = |line: &str| {
        let mut words = line.split(' ').skip(1);
        (words.next() == Some(what)).then(|| words.next()?.parse::<u64>().ok()).flatten()
    };
    text.lines().filter_map(number).reduce(u64::saturating_add)
}

/// The least memory limit of a group and of those above it.
pub(crate) fn memory_above(own: &Path) -> Option<u64> {
    read_field(own, "memory.stat", "hierarchical_memory_limit")
}

/// Gives a new group the processors and memory nodes of the group above it: without any no process
/// can join (cpuset(7)).
pub(crate) fn fill_cpuset(dir: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let is_empty = read_text(dir, file).is_some_and(|list| list.is_empty());
        if let Some(list) = dir.parent().and_then(|above| read_text(above, file)).filter(|_| is_empty) {
            write(dir, file, &list)?;
        }
    }
    Ok(())
}
