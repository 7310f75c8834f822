//! The settings as files of cgroup v1 (Documentation/admin-guide/cgroup-v1/ of the kernel).

use std::{fs, path::Path};

use chain::{Doing, Error, Limit, Remedy, Result, Size};
use nix::errno::Errno;

use crate::{
    args::{Cores, Count, Settings},
    group::Group,
    hierarchy::Hierarchies,
};

const MEMORY: &str = "memory.limit_in_bytes";
const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
const QUOTA: &str = "cpu.cfs_quota_us";
const PERIOD: &str = "cpu.cfs_period_us";
const PIDS: &str = "pids.max";
/// What the kernel shows for no memory limit: the largest multiple of the page size (mm/page_counter.c).
const NO_MEMORY_LIMIT: u64 = 0x7fff_ffff_ffff_f000;

/// Checks that each setting can be given here, before anything is made.
pub(crate) fn check(settings: &Settings, hierarchies: &Hierarchies) -> Result<()> {
    if let Some(mem) = settings.mem {
        let own = hierarchies.v1_for(&format!("mem={mem}"), "memory")?;
        if !own.join(MEMORY_AND_SWAP).exists() {
            return Err(Error::new(
                format!("mem={mem}"),
                "this kernel does not count swap, so it cannot be limited",
            )
            .hint("boot it with swapaccount=1"));
        }
    }
    if let Some(cpu) = settings.cpu {
        let own = hierarchies.v1_for(&format!("cpu={cpu}"), "cpu")?;
        if !own.join(PERIOD).exists() && !own.join("cpu.shares").exists() {
            return Err(Error::new(format!("cpu={cpu}"), "this kernel cannot limit processor time")
                .hint("it needs CONFIG_CFS_BANDWIDTH"));
        }
    }
    if let Some(pids) = settings.pids {
        hierarchies.v1_for(&format!("pids={pids}"), "pids")?;
    }
    Ok(())
}

/// The trees in which a group of these settings needs a directory. cpuacct counts what cpu limits.
pub(crate) fn needs(settings: &Settings, tree: &str) -> bool {
    match tree {
        "memory" => settings.mem.is_some(),
        "cpu" | "cpuacct" => settings.cpu.is_some(),
        "pids" => settings.pids.is_some(),
        _ => false,
    }
}

/// Writes the settings to a group that has a directory for each.
pub(crate) fn apply(settings: &Settings, group: &Group) -> Result<()> {
    if let (Some(mem), Some(dir)) = (settings.mem, group.dir("memory")) {
        set_memory(dir, mem).map_err(|error| about("mem", mem, error))?;
    }
    if let (Some(cpu), Some(dir)) = (settings.cpu, group.dir("cpu")) {
        set_cpu(dir, cpu)
            .remedy(Errno::EINVAL, "it must not pass the cpu limit of a group above it")
            .map_err(|error| about("cpu", cpu, error))?;
    }
    if let (Some(pids), Some(dir)) = (settings.pids, group.dir("pids")) {
        write(dir, PIDS, &pids.to_string()).map_err(|error| about("pids", pids, error))?;
    }
    Ok(())
}

/// The kernel refuses a memory limit above that of memory and swap at every moment, so going up the
/// one for both is written first, and going down last.
fn set_memory(dir: &Path, mem: Limit<Size>) -> Result<()> {
    let bytes = match mem {
        Limit::Max => "-1".into(),
        Limit::At(Size(bytes)) => bytes.to_string(),
    };
    let goes_up = match mem {
        Limit::Max => true,
        Limit::At(Size(bytes)) => read_number(dir, MEMORY_AND_SWAP).is_some_and(|now| bytes >= now),
    };
    let order = if goes_up { [MEMORY_AND_SWAP, MEMORY] } else { [MEMORY, MEMORY_AND_SWAP] };
    order.into_iter().try_for_each(|file| {
        write(dir, file, &bytes)
            .remedy(Errno::EBUSY, "the group uses more than that now, and it cannot be freed")
    })
}

fn set_cpu(dir: &Path, cpu: Limit<Cores>) -> Result<()> {
    match cpu {
        Limit::Max => write(dir, QUOTA, "-1"),
        Limit::At(Cores(micros)) => {
            write(dir, PERIOD, &Cores::PERIOD.to_string())?;
            write(dir, QUOTA, &micros.to_string())
        }
    }
}

/// What the kernel has for each setting of a group, where the group has a directory for it.
pub(crate) fn read(group: &Group) -> Settings {
    let memory = |dir| match read_number(dir, MEMORY_AND_SWAP)?.min(read_number(dir, MEMORY)?) {
        NO_MEMORY_LIMIT.. => Some(Limit::Max),
        bytes => Some(Limit::At(Size(bytes))),
    };
    let cpu = |dir| match read_number(dir, QUOTA) {
        // -1: no limit.
        None => Some(Limit::Max),
        Some(quota) => {
            Some(Limit::At(Cores(quota.saturating_mul(Cores::PERIOD) / read_number(dir, PERIOD)?)))
        }
    };
    let pids = |dir: &Path| match fs::read_to_string(dir.join(PIDS)).ok()?.trim() {
        "max" => Some(Limit::Max),
        number => number.parse().ok().map(|number| Limit::At(Count(number))),
    };
    Settings {
        mem: group.dir("memory").and_then(memory),
        cpu: group.dir("cpu").and_then(cpu),
        pids: group.dir("pids").and_then(pids),
    }
}

/// How many processes of the group were killed because memory ran out, there or above it; `None`
/// if the group has no memory directory. Since Linux 4.13.
pub(crate) fn oom_kills(group: &Group) -> Option<u64> {
    let events = fs::read_to_string(group.dir("memory")?.join("memory.oom_control")).ok()?;
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok())
}

/// Whether the group has used all its memory at some time. The failcnt files should count that, but
/// stay at 0 on Linux 6.18, so it is told from the peak; the kernel charges 64 pages at once
/// (MEMCG_CHARGE_BATCH in include/linux/memcontrol.h).
pub(crate) fn memory_was_full(group: &Group) -> bool {
    const BATCH: u64 = 64 * 4096;
    let Some(dir) = group.dir("memory") else { return false };
    let limit = read_number(dir, MEMORY_AND_SWAP).unwrap_or(NO_MEMORY_LIMIT);
    read_number(dir, "memory.memsw.max_usage_in_bytes")
        .is_some_and(|peak| peak.saturating_add(BATCH) >= limit)
}

fn write(dir: &Path, file: &str, value: &str) -> Result<()> {
    fs::write(dir.join(file), value).doing(|| format!("write {value} to {}", dir.join(file).display()))
}

fn read_number(dir: &Path, file: &str) -> Option<u64> {
    fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok()
}

/// Puts the setting in front of what was being done for it.
fn about(key: &str, value: impl std::fmt::Display, error: Error) -> Error {
    error.within(&format!("{key}={value}"))
}
