//! Who was killed for memory: the kernel says it in its log.

use std::{
    fmt::Write as _,
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use chain::kernel_log::KernelLog;

/// The inode of the first pid namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h). The log has
/// the pids of that one.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// That of the first cgroup namespace (PROC_CGROUP_INIT_INO), from whose root on the log names groups.
const FIRST_CGROUP_NAMESPACE: u64 = 0xEFFF_FFFB;
/// How the messages begin, or what is in them, that are of kills.
const EXPLANATION: &str = "oom-kill:";
const KILL: &str = "emory: Killed process ";

/// A group as the log names it.
#[derive(Debug)]
pub(crate) struct Place {
    path: String,
    /// It begins at the root, not at that of a cgroup namespace.
    is_whole: bool,
}

impl Place {
    /// The group with this path, as the caller sees it.
    pub(crate) fn new(path: &Path) -> Self {
        let is_whole =
            fs::metadata("/proc/self/ns/cgroup").is_ok_and(|found| found.ino() == FIRST_CGROUP_NAMESPACE);
        let mut shown = String::new();
        for byte in path.as_os_str().as_bytes() {
            match byte {
                // As in /dev/kmsg (msg_print_ext_body() in kernel/printk/printk.c). Writing to a string does not fail.
                ..b' ' | 127.. | b'\\' => drop(write!(shown, "\\x{byte:02x}")),
                byte => shown.push(char::from(*byte)),
            }
        }
        Self { path: shown, is_whole }
    }

    fn is(&self, path: &str) -> bool {
        if self.is_whole { path == self.path } else { path.ends_with(&self.path) }
    }

    /// Whether it is the group or one below it.
    fn holds(&self, path: &str) -> bool {
        let below = if self.is_whole {
            path.strip_prefix(&self.path)
        } else {
            path.split_once(&format!("{}/", self.path)).map(|_| "/")
        };
        self.is(path) || below.is_some_and(|rest| rest.starts_with('/'))
    }
}

/// The messages that are of kills.
pub(crate) fn of_kills(log: KernelLog) -> Vec<String> {
    log.messages().filter(|message| message.starts_with(EXPLANATION) || message.contains(KILL)).collect()
}

/// A process that the kernel killed for memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) name: String,
    pub(crate) pid: i32,
    /// Whose limit was passed, seen from the group that was asked for; `None` if the log does not say.
    pub(crate) limit: Option<Whose>,
}

/// Where the limit was that a process was killed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// That of the group.
    Own,
    /// That of a group above it, or of the machine.
    Above,
    /// That of a group below it.
    Below,
}

/// The process of the group, or of one below it, that was killed last, if the messages tell it. `kills` is how many the
/// kernel has counted in the group meanwhile.
///
/// The kernel writes two messages about a kill. The one with the group's name it leaves out when
/// there were many of late (`oom_rs` in mm/oom_kill.c allows 10 in 5 seconds), the one with the
/// process never. So a kill of no known group is ours if there are just as many of them as ours.
pub(crate) fn last_victim(messages: &[String], group: &Place, kills: u64) -> Option<Victim> {
    if !has_pids_of_the_log() {
        return None;
    }
    let mut explained = Vec::new();
    let mut killed = Vec::new();
    let mut ours = None;
    for message in messages {
        if let Some(explanation) = Explanation::parse(message) {
            explained.push(explanation.victim.pid);
            ours = explanation.victim_in(group).or(ours);
        } else if let Some(victim) = parse_kill(message) {
            killed.push(victim);
        }
    }
    ours.or_else(|| {
        killed.retain(|victim| !explained.contains(&victim.pid));
        killed.pop().filter(|_| u64::try_from(killed.len() + 1) == Ok(kills))
    })
}

/// The same of all times, as far as the kernel says which group a victim was in.
pub(crate) fn explained_victim(messages: &[String], group: &Place) -> Option<Victim> {
    // More than there can be of kills that are not explained.
    last_victim(messages, group, u64::MAX)
}

/// How many processes were killed in the group and those below it, as far as the messages tell, and how many of them
/// for its own limit.
pub(crate) fn count(messages: &[String], group: &Place) -> (u64, u64) {
    let explained = messages.iter().filter_map(|message| Explanation::parse(message));
    let ours = explained.filter_map(|explanation| explanation.victim_in(group));
    ours.fold((0, 0), |(all, own), victim| (all + 1, own + u64::from(victim.limit == Some(Whose::Own))))
}

fn has_pids_of_the_log() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|own| own.as_os_str() == FIRST_PID_NAMESPACE)
}

/// What dump_oom_victim() in mm/oom_kill.c says.
struct Explanation {
    limited: String,
    killed_in: String,
    victim: Victim,
}

impl Explanation {
    /// Reads `oom-kill:…,oom_memcg=/a,task_memcg=/a/b,task=tail,pid=4242,uid=0`.
    fn parse(message: &str) -> Option<Self> {
        let fields = message.strip_prefix(EXPLANATION)?;
        let (before, fields) = fields.split_once(",task_memcg=")?;
        // Without a limit of a group it was the machine's memory.
        let limited = before.split_once(",oom_memcg=").map_or("", |(_, limited)| limited);
        let (killed_in, fields) = fields.split_once(",task=")?;
        // The process's name may hold a comma, so the pid is looked for from the end.
        let (name, fields) = fields.rsplit_once(",pid=")?;
        let (pid, _) = fields.split_once(',')?;
        let victim = Victim { name: name.to_owned(), pid: pid.parse().ok()?, limit: None };
        Some(Self { limited: limited.to_owned(), killed_in: killed_in.to_owned(), victim })
    }

    /// The victim, if it was in `group` or below.
    fn victim_in(self, group: &Place) -> Option<Victim> {
        let whose = match &self.limited {
            limited if group.is(limited) => Whose::Own,
            limited if group.holds(limited) => Whose::Below,
            _ => Whose::Above,
        };
        group.holds(&self.killed_in).then_some(Victim { limit: Some(whose), ..self.victim })
    }
}

/// Reads `Memory cgroup out of memory: Killed process 4242 (tail) total-vm:…`, as
/// __oom_kill_process() in mm/oom_kill.c writes it.
fn parse_kill(message: &str) -> Option<Victim> {
    let (_, fields) = message.split_once(KILL)?;
    let (pid, fields) = fields.split_once(" (")?;
    let (name, _) = fields.rsplit_once(") total-vm:")?;
    Some(Victim { name: name.to_owned(), pid: pid.parse().ok()?, limit: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(limited: &str, killed_in: &str, pid: i32) -> String {
        format!(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0{limited},\
             task_memcg={killed_in},task=ta,il,pid={pid},uid=0"
        )
    }

    fn killed(pid: i32) -> String {
        format!("Memory cgroup out of memory: Killed process {pid} (ta,il) total-vm:6460kB, anon-rss:3968kB")
    }

    fn victim(pid: i32, limit: Option<Whose>) -> Victim {
        Victim { name: "ta,il".into(), pid, limit }
    }

    fn group(path: &str) -> Place {
        Place { path: path.into(), is_whole: true }
    }

    #[test]
    fn the_victim_of_the_group_is_found_and_whose_limit_it_was() {
        for (limited, killed_in, path, limit) in [
            (",oom_memcg=/a/g", "/a/g", "/a/g", Whose::Own),
            (",oom_memcg=/a/g/h", "/a/g/h", "/a/g/h", Whose::Own),
            (",oom_memcg=/a/g", "/a/g/h", "/a/g", Whose::Own),
            (",oom_memcg=/a/g/h", "/a/g/h", "/a/g", Whose::Below),
            (",oom_memcg=/a", "/a/g", "/a/g", Whose::Above),
            (",global_oom", "/a/g", "/a/g", Whose::Above),
        ] {
            let messages = [explained(limited, killed_in, 42), killed(42)];
            assert_eq!(last_victim(&messages, &group(path), 1), Some(victim(42, Some(limit))), "{limited}");
            let in_namespace = Place { path: path.replace("/a", ""), is_whole: false };
            assert_eq!(last_victim(&messages, &in_namespace, 1), Some(victim(42, Some(limit))), "{limited}");
        }
    }

    #[test]
    fn other_groups_victims_are_not() {
        for killed_in in ["/a/h", "/a/gg", "/b/a/g", "/b/g", "/a", "/g"] {
            let messages =
                [explained(&format!(",oom_memcg={killed_in}"), killed_in, 42), killed(42), "hello".into()];
            assert_eq!(last_victim(&messages, &group("/a/g"), 1), None, "{killed_in}");
        }
    }

    #[test]
    fn kills_are_counted_with_those_of_groups_that_are_gone() {
        let messages = [
            explained(",oom_memcg=/a/g", "/a/g/h", 42),
            explained(",oom_memcg=/a/g/h", "/a/g/h", 43),
            explained(",oom_memcg=/a", "/a/g", 44),
            explained(",oom_memcg=/a", "/a", 45),
        ];
        assert_eq!(count(&messages, &group("/a/g")), (3, 1));
    }

    #[test]
    fn a_group_has_the_name_that_the_log_has_for_it() {
        assert_eq!(Place::new(Path::new("/a b/ü\\x")).path, "/a b/\\xc3\\xbc\\x5cx");
    }

    #[test]
    fn a_kill_that_the_kernel_does_not_explain_is_ours_only_if_it_can_be_no_others() {
        let other = [explained(",oom_memcg=/h", "/h", 7), killed(7)];
        let found = |ours: &[i32], kills| {
            let messages: Vec<_> = other.iter().cloned().chain(ours.iter().copied().map(killed)).collect();
            last_victim(&messages, &group("/g"), kills)
        };
        assert_eq!(found(&[8], 1), Some(victim(8, None)));
        assert_eq!(found(&[8, 9], 2), Some(victim(9, None)));
        assert_eq!(found(&[8, 9], 1), None);
        assert_eq!(found(&[], 1), None);
    }
}
