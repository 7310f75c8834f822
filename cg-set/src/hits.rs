//! The limits that NEXT ran into: each is named in a line on stderr, with what to raise.

use std::{ffi::OsStr, path::Path};

use chain::kernel_log::KernelLog;

use crate::{
    group::Group,
    hierarchy::Version,
    limits,
    oom::{self, Place, Victim, Whose},
    settings::Settings,
    usage::Used,
};

/// How the counters stood before NEXT ran, and where the kernel's log did.
#[derive(Debug, Default)]
pub(crate) struct Before {
    kills: u64,
    refused_forks: u64,
    over_high: u64,
    log: Option<KernelLog>,
    /// What it has said of kills.
    said: Vec<String>,
    /// The group's name is nobody else's, whenever they ran.
    is_fresh: bool,
}

impl Before {
    /// For a group that others have been in.
    pub(crate) fn now(group: &Group) -> Self {
        let memory = limits::memory(group);
        Self {
            kills: memory.map_or(0, |memory| memory.kills),
            refused_forks: limits::forks(group).map_or(0, |forks| forks.refused),
            over_high: limits::times_over_high(group),
            log: memory.map(|_| KernelLog::from_now()),
            said: Vec::new(),
            is_fresh: false,
        }
    }

    /// For a group that nobody has been in. The log, which takes longer to open than all else here, is for
    /// [`Before::open_log`].
    pub(crate) fn anybody() -> Self {
        Self { is_fresh: true, ..Self::default() }
    }

    /// Opens the log, if it is not open.
    pub(crate) fn open_log(&mut self, group: &Group) {
        if self.log.is_none() {
            self.log = group.place("memory").map(|_| KernelLog::from_now());
        }
    }

    /// What the kernel has said since then.
    fn said(&mut self) -> &[String] {
        if let Some(log) = self.log.take() {
            self.said = oom::of_kills(log);
        }
        &self.said
    }

    /// Who was killed last in the group, if the log tells.
    fn victim(&mut self, path: &Path, kills: u64) -> Option<Victim> {
        let place = &Place::new(path);
        let since = oom::last_victim(self.said(), place, kills);
        // It may have been killed before the log was opened.
        let all = || oom::explained_victim(&oom::of_kills(KernelLog::whole()), place);
        since.or_else(|| self.is_fresh.then(all).flatten())
    }

    /// Adds what v1 has counted in groups below that are gone, as far as the log tells.
    pub(crate) fn add_gone(&mut self, used: &mut Used, group: &Group, path: &Path) {
        if group.place("memory").is_some_and(|(version, _)| version == Version::V1) {
            let (killed, for_this) = oom::count(self.said(), &Place::new(path));
            used.oom_kills = used.oom_kills.map(|kills| kills.max(killed));
            used.hits.mem = used.hits.mem.map(|hits| hits.max(for_this));
        }
    }
}

/// A line for each limit that was run into since then. `path` is that of the group in the tree of memory.
pub(crate) fn say(before: &mut Before, group: &Group, path: Option<&Path>, next: &OsStr) {
    let others = slowed(before, group).into_iter().chain(forks(before, group));
    for line in memory(before, group, path, next).into_iter().chain(others) {
        chain::note("cg-set", &line);
    }
}

/// The least limit of this name on a group above, and whose it is.
fn limit_above(setting: &str, group: &Group) -> Option<String> {
    let (controller, above) =
        (Settings::controller_of(setting)?, std::iter::successors(group.above(), Group::above));
    let limits = above.filter_map(|above| {
        let limit = limits::get(setting, &above).filter(|limit| !limit.is_no_limit())?;
        Some((limit, above.place(controller)?.1.to_path_buf()))
    });
    let (limit, dir) =
        limits.reduce(|least, next| if next.0.is_less_than(&least.0) { next } else { least })?;
    Some(format!("{setting}={limit} of {}", dir.display()))
}

/// Whether what runs in the group was slowed down for the memory that it used.
fn slowed(before: &Before, group: &Group) -> Option<String> {
    let high = limits::get("mem.high", group)?;
    let is_more = limits::times_over_high(group) > before.over_high;
    is_more.then(|| format!("mem.high={high}: processes were slowed down for passing it; raise mem.high="))
}

/// Who was killed for passing the memory limit, if somebody was.
fn memory(before: &mut Before, group: &Group, path: Option<&Path>, next: &OsStr) -> Option<String> {
    let memory = limits::memory(group)?;
    let kills = memory.kills.saturating_sub(before.kills);
    if kills == 0 && !memory.was_full {
        return None;
    }
    let victim = path.and_then(|path| before.victim(path, kills));
    let whose = victim.as_ref().and_then(|victim| victim.limit).or((kills > 0).then_some(memory.whose));
    let who = match &victim {
        Some(victim) => format!("{} (pid {})", victim.name, victim.pid),
        None => format!("a process of {}", next.display()),
    };
    match whose {
        // On v1 a kill is counted in the victim's group alone, which can be one below this.
        Some(Whose::Own) => {
            let mem = limits::get("mem", group)?;
            Some(format!("mem={mem}: {who} was killed for passing it; raise mem="))
        }
        Some(Whose::Above) if kills > 0 => Some(match limit_above("mem", group) {
            Some(limit) => format!("{limit}: {who} was killed for passing it; raise it there"),
            None => {
                format!("memory: {who} was killed because it ran out above this group; raise the limit there")
            }
        }),
        // A group below has its own cg-set, or whoever made it.
        Some(Whose::Above | Whose::Below) | None => None,
    }
}

/// How often a fork was refused.
fn forks(before: &Before, group: &Group) -> Option<String> {
    let forks = limits::forks(group)?;
    let refused = forks.refused.saturating_sub(before.refused_forks);
    if refused == 0 {
        return None;
    }
    let times = if refused == 1 { "once".to_owned() } else { format!("{refused} times") };
    match forks.whose {
        Whose::Above => Some(match limit_above("pids", group) {
            Some(limit) => format!("{limit}: fork was refused {times} for passing it; raise it there"),
            None => format!("pids: fork was refused {times} by a limit above this group; raise that"),
        }),
        Whose::Own | Whose::Below => {
            let pids = limits::get("pids", group)?;
            Some(format!("pids={pids}: fork was refused {times} for passing it; raise pids="))
        }
    }
}
