//! What a group uses and has used, as the kernel counts it: for it and the groups below it.

use serde::Serialize;

use crate::{group::Group, hierarchy::Version, limits::read_text, v1, v2};

/// The controllers whose files tell it, by their names on either version.
pub(crate) const MEASURED: [&str; 6] = ["memory", "pids", "cpu", "cpuacct", "blkio", "io"];

/// What it uses at this moment. `None`: the kernel does not tell it here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Now {
    /// On v1 with swap.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) pids: Option<u64>,
}

/// What it has used. `None`: the kernel does not tell it here. The names are those of `--report`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Used {
    pub(crate) cpu_user_usec: Option<u64>,
    pub(crate) cpu_system_usec: Option<u64>,
    /// How long it was kept from running by `cpu`.
    pub(crate) throttled_usec: Option<u64>,
    /// On v1 with swap.
    pub(crate) memory_peak_bytes: Option<u64>,
    pub(crate) pids_peak: Option<u64>,
    pub(crate) io_read_bytes: Option<u64>,
    pub(crate) io_written_bytes: Option<u64>,
    pub(crate) oom_kills: Option<u64>,
    pub(crate) hits: Hits,
    pub(crate) pressure_usec: Pressure,
}

/// How often a limit was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Hits {
    pub(crate) mem: Option<u64>,
    #[serde(rename = "mem.high")]
    pub(crate) mem_high: Option<u64>,
    /// Periods in which it was kept from running.
    pub(crate) cpu: Option<u64>,
    /// Forks that were refused.
    pub(crate) pids: Option<u64>,
}

/// Time lost because something was short (Documentation/accounting/psi.rst of the kernel).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Pressure {
    pub(crate) cpu: Stall,
    pub(crate) memory: Stall,
    pub(crate) io: Stall,
}

/// How long some of the processes waited, and how long all of them did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Stall {
    pub(crate) some: Option<u64>,
    pub(crate) full: Option<u64>,
}

impl Now {
    pub(crate) fn read(group: &Group) -> Self {
        let mut now = Self::default();
        for (version, controller, dir) in group.measured() {
            match version {
                Version::V1 => v1::add_now(&mut now, controller, dir),
                Version::V2 => v2::add_now(&mut now, controller, dir),
            }
        }
        now
    }
}

impl Used {
    pub(crate) fn read(group: &Group) -> Self {
        let mut used = Self::default();
        for (version, controller, dir) in group.measured() {
            match version {
                Version::V1 => v1::add_used(&mut used, controller, dir),
                Version::V2 => v2::add_used(&mut used, controller, dir),
            }
        }
        // On a hybrid machine it is counted without a controller beside.
        if let Some(dir) = group.v2() {
            v2::add_core(&mut used, dir);
        }
        used
    }

    /// What came since `before`; the peaks are those of the whole life.
    pub(crate) fn since(self, before: &Self) -> Self {
        let less =
            |now: Option<u64>, before: Option<u64>| now.map(|now| now.saturating_sub(before.unwrap_or(0)));
        let stall = |now: Stall, before: Stall| Stall {
            some: less(now.some, before.some),
            full: less(now.full, before.full),
        };
        let (hits, pressure) = (before.hits, before.pressure_usec);
        Self {
            cpu_user_usec: less(self.cpu_user_usec, before.cpu_user_usec),
            cpu_system_usec: less(self.cpu_system_usec, before.cpu_system_usec),
            throttled_usec: less(self.throttled_usec, before.throttled_usec),
            memory_peak_bytes: self.memory_peak_bytes,
            pids_peak: self.pids_peak,
            io_read_bytes: less(self.io_read_bytes, before.io_read_bytes),
            io_written_bytes: less(self.io_written_bytes, before.io_written_bytes),
            oom_kills: less(self.oom_kills, before.oom_kills),
            hits: Hits {
                mem: less(self.hits.mem, hits.mem),
                mem_high: less(self.hits.mem_high, hits.mem_high),
                cpu: less(self.hits.cpu, hits.cpu),
                pids: less(self.hits.pids, hits.pids),
            },
            pressure_usec: Pressure {
                cpu: stall(self.pressure_usec.cpu, pressure.cpu),
                memory: stall(self.pressure_usec.memory, pressure.memory),
                io: stall(self.pressure_usec.io, pressure.io),
            },
        }
    }

    /// User and system time together.
    pub(crate) fn cpu_usec(&self) -> Option<u64> {
        Some(self.cpu_user_usec?.saturating_add(self.cpu_system_usec?))
    }
}

/// The parts of the last ten seconds, in percent, in which some process waited for processor time, for
/// memory, and for input and output.
pub(crate) fn pressure_now(group: &Group) -> [Option<f64>; 3] {
    ["cpu.pressure", "memory.pressure", "io.pressure"].map(|file| {
        let text = read_text(group.v2()?, file)?;
        psi_field(&text, "some", "avg10=")?.parse().ok()
    })
}

/// A field of a file such as `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`.
pub(crate) fn psi_field<'a>(text: &'a str, line: &str, field: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(' '))?;
    line.split(' ').find_map(|word| word.strip_prefix(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read_by_line_and_field() {
        let text =
            "some avg10=0.12 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5";
        assert_eq!(psi_field(text, "some", "avg10="), Some("0.12"));
        assert_eq!(psi_field(text, "full", "total="), Some("5"));
        assert_eq!(psi_field("", "full", "total="), None);
    }

    #[test]
    fn counters_are_taken_from_each_other_and_peaks_stay() {
        let before = Used { oom_kills: Some(2), pids_peak: Some(9), ..Used::default() };
        let after =
            Used { oom_kills: Some(3), pids_peak: Some(9), cpu_user_usec: Some(5), ..Used::default() };
        let since = after.since(&before);
        assert_eq!((since.oom_kills, since.pids_peak, since.cpu_user_usec), (Some(1), Some(9), Some(5)));
        assert_eq!(since.hits.mem, None);
    }
}
