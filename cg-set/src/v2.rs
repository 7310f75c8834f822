//! The settings as files of cgroup v2 (Documentation/admin-guide/cgroup-v2.rst of the kernel).

use std::path::Path;

use chain::{Doing, Limit, Remedy, Result, Size};
use nix::errno::Errno;

use crate::{
    limits::{
        IN_USE, Memory, be_idle_no_more, put, read_field, read_number, read_text, save_up_less, sum, write,
    },
    oom::Whose,
    settings::Settings,
    usage::{Now, Pressure, Stall, Used, psi_field},
    value::{Amount, Cores, Count, Value, in_numbers, limit, number},
};

/// Settings that are one file each, with the value as it is typed in numbers.
const FILES: [(&str, &str); 10] = [
    ("mem.high", "memory.high"),
    ("mem.low", "memory.low"),
    ("mem.min", "memory.min"),
    ("cpu.weight", "cpu.weight"),
    ("cpu.idle", "cpu.idle"),
    ("cpus", "cpuset.cpus"),
    ("mems", "cpuset.mems"),
    ("pids", "pids.max"),
    ("oom.group", "memory.oom.group"),
    ("freeze", "cgroup.freeze"),
];
const SWAP: &str = "memory.swap.max";
const BURST: &str = "cpu.max.burst";
const FORKS: &str = "pids.events";
const FORKS_OF_ITS_OWN: &str = "pids.events.local";

/// Writes the setting of this name to a group.
pub(crate) fn set(name: &str, settings: &Settings, dir: &Path) -> Result<()> {
    match (name, settings.get(name)) {
        ("mem", Some(Value::Bytes(mem))) => {
            let swap = match settings.get("swap") {
                Some(Value::Bytes(swap)) => *swap,
                _ if *mem == Limit::Max => Limit::Max,
                _ => Limit::At(Amount::Number(Size(0))),
            };
            set_swap(dir, swap)?;
            write(dir, "memory.max", &number(*mem))
        }
        ("swap", Some(Value::Bytes(swap))) if settings.get("mem").is_none() => {
            write(dir, SWAP, &number(*swap))
        }
        ("cpu", Some(Value::Cores(cores))) => {
            let period = settings.cpu_period();
            let quota = match cores {
                Limit::Max => "max".to_owned(),
                Limit::At(cores) => {
                    save_up_less(dir, BURST, cores.quota(period))?;
                    cores.quota(period).to_string()
                }
            };
            write(dir, "cpu.max", &format!("{quota} {period}"))
        }
        ("cpu.burst", Some(Value::Time(burst))) => write(dir, BURST, &burst.0.as_micros().to_string()),
        (name, Some(value)) => match FILES.iter().find(|(key, _)| *key == name) {
            Some((_, "cpu.weight")) => {
                be_idle_no_more(settings, dir)?;
                write(dir, "cpu.weight", &in_numbers(value))
            }
            Some((_, file)) => write(dir, file, &in_numbers(value)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Frees memory of a group until it uses no more than the limit that it is to get. The kernel would kill what runs
/// in it in order to get there (memory_max_write() in mm/memcontrol.c).
pub(crate) fn make_room(dir: &Path, limit: u64) -> Result<()> {
    let over = || read_number(dir, "memory.current")?.checked_sub(limit).filter(|over| *over > 0);
    let Some(bytes) = over() else { return Ok(()) };
    // Linux 5.19. It fails if it could not free all of it.
    let _ = put(&dir.join("memory.reclaim"), &bytes.to_string());
    match over() {
        None => Ok(()),
        Some(_) => Err(Errno::EBUSY)
            .doing(|| format!("write {limit} to {}", dir.join("memory.max").display()))
            .remedy(Errno::EBUSY, IN_USE),
    }
}

/// A kernel without swap has no file for it, and then there is none to limit.
fn set_swap(dir: &Path, swap: Limit<Amount<Size>>) -> Result<()> {
    if dir.join(SWAP).exists() { write(dir, SWAP, &number(swap)) } else { Ok(()) }
}

/// What the kernel has for the setting of this name; `None` too if that is what every group has, as a
/// directory holds the files of all controllers, whatever was asked for.
pub(crate) fn get(name: &str, dir: &Path) -> Option<Value> {
    let file = |name: &str| FILES.iter().find(|(key, _)| *key == name).map(|(_, file)| *file);
    let bytes = |file: &str| Some(Value::Bytes(limit(&read_text(dir, file)?, Size)?));
    match name {
        "mem" => bytes("memory.max").filter(|max| *max != Value::Bytes(Limit::Max)),
        // With mem it is 0.
        "swap" => bytes(SWAP).filter(|swap| {
            let is_default = *swap == Value::Bytes(Limit::Max) && get("mem", dir).is_none();
            *swap != Value::Bytes(Limit::At(Amount::Number(Size(0)))) && !is_default
        }),
        "mem.high" => bytes("memory.high").filter(|high| *high != Value::Bytes(Limit::Max)),
        "mem.low" | "mem.min" => match read_text(dir, file(name)?)?.as_str() {
            "0" => None,
            text => Some(Value::Bytes(limit(text, Size)?)),
        },
        "cpu" => {
            let text = read_text(dir, "cpu.max")?;
            let (quota, period) = text.split_once(' ')?;
            let cores = |quota| Cores::of_quota(quota, period.parse().unwrap_or(Cores::PERIOD));
            Some(Value::Cores(Limit::At(cores(quota.parse().ok()?))))
        }
        "cpu.period" => {
            let text = read_text(dir, "cpu.max")?;
            Some(Value::micros(text.split_once(' ')?.1.parse().ok()?)).filter(|_| !text.ends_with(" 100000"))
        }
        "cpu.burst" => read_number(dir, BURST).filter(|burst| *burst > 0).map(Value::micros),
        "cpu.weight" => {
            let weight = u32::try_from(read_number(dir, file(name)?)?).ok()?;
            // It is 0 while the group is idle.
            Some(Value::Weight(weight)).filter(|_| weight != 100 && weight != 0)
        }
        "cpus" | "mems" => read_text(dir, file(name)?).filter(|list| !list.is_empty()).map(Value::List),
        "pids" => {
            let count = |number| Count(u32::try_from(number).unwrap_or(u32::MAX));
            let pids = limit(&read_text(dir, "pids.max")?, count)?;
            Some(Value::Count(pids)).filter(|_| pids != Limit::Max)
        }
        "cpu.idle" | "oom.group" | "freeze" => {
            (read_text(dir, file(name)?)? == "1").then_some(Value::Switch(true))
        }
        _ => None,
    }
}

/// Since Linux 5.2 memory.events.local; memory.events counts the groups below as well, which is what
/// is wanted of kills.
pub(crate) fn memory(dir: &Path) -> Option<Memory> {
    let kills = read_field(dir, "memory.events", "oom_kill")?;
    let has = |file: &str| read_field(dir, file, "oom").is_some_and(|ooms| ooms > 0);
    let was_full = has("memory.events.local");
    let whose = match was_full {
        true => Whose::Own,
        false if has("memory.events") => Whose::Below,
        false => Whose::Above,
    };
    Some(Memory { kills, was_full, whose })
}

/// What a controller's files say of the group's use at this moment.
pub(crate) fn add_now(now: &mut Now, controller: &str, dir: &Path) {
    match controller {
        "memory" => now.memory_bytes = read_number(dir, "memory.current"),
        "pids" => now.pids = read_number(dir, "pids.current"),
        _ => {}
    }
}

/// What a controller's files say of the group's use so far.
pub(crate) fn add_used(used: &mut Used, controller: &str, dir: &Path) {
    match controller {
        "memory" => {
            // Linux 5.19.
            used.memory_peak_bytes = read_number(dir, "memory.peak");
            let event = |name: &str| read_field(dir, "memory.events", name);
            used.oom_kills = event("oom_kill");
            used.hits.mem = event("max");
            used.hits.mem_high = times_over_high(dir);
        }
        "pids" => {
            used.pids_peak = read_number(dir, "pids.peak");
            // Counted for the groups below as well since Linux 6.11.
            let all = |dir: &Path| read_field(dir, FORKS, "max");
            used.hits.pids = if dir.join(FORKS_OF_ITS_OWN).exists() { all(dir) } else { sum(dir, all) };
        }
        "cpu" => {
            used.throttled_usec = read_field(dir, "cpu.stat", "throttled_usec");
            used.hits.cpu = read_field(dir, "cpu.stat", "nr_throttled");
        }
        "io" => {
            let text = read_text(dir, "io.stat");
            used.io_read_bytes = text.as_deref().map(|text| bytes_of(text, "rbytes="));
            used.io_written_bytes = text.as_deref().map(|text| bytes_of(text, "wbytes="));
        }
        _ => {}
    }
}

/// What every group has, also where its controllers are on v1.
pub(crate) fn add_core(used: &mut Used, dir: &Path) {
    let time = |name: &str| read_field(dir, "cpu.stat", name);
    // Finer than the ticks of v1.
    used.cpu_user_usec = time("user_usec").or(used.cpu_user_usec);
    used.cpu_system_usec = time("system_usec").or(used.cpu_system_usec);
    let stall = |file: &str| {
        let text = read_text(dir, file).unwrap_or_default();
        let total = |line: &str| psi_field(&text, line, "total=")?.parse().ok();
        Stall { some: total("some"), full: total("full") }
    };
    used.pressure_usec =
        Pressure { cpu: stall("cpu.pressure"), memory: stall("memory.pressure"), io: stall("io.pressure") };
}

/// How often processes were made to free memory, or to wait, because the group used more than `memory.high`.
pub(crate) fn times_over_high(dir: &Path) -> Option<u64> {
    read_field(dir, "memory.events", "high")
}

/// For the limit of this group alone, from Linux 6.11 on; before, those of processes in this group, whoever's limit it was.
pub(crate) fn refused_forks(dir: &Path) -> Option<u64> {
    [FORKS_OF_ITS_OWN, FORKS].into_iter().find_map(|file| read_field(dir, file, "max"))
}

/// The sum over all devices in lines such as `254:0 rbytes=4096 wbytes=0 rios=1`.
fn bytes_of(text: &str, what: &str) -> u64 {
    let words = text.lines().flat_map(|line| line.split(' '));
    words.filter_map(|word| word.strip_prefix(what)?.parse::<u64>().ok()).sum()
}
