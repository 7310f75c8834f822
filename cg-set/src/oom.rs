//! Who was killed for memory: the kernel says it in its log.

use std::fs;

use chain::kernel_log::KernelLog;

/// The inode of the first pid namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h). The log has
/// the pids of that one.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

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

/// The process of the group `name`, or of one below it, that was killed last, if the log may be
/// read and tells it. `kills` is how many the kernel has counted in the group meanwhile.
pub(crate) fn last_victim(log: KernelLog, name: &str, kills: u64) -> Option<Victim> {
    has_pids_of_the_log().then(|| find(log.messages(), name, kills)).flatten()
}

/// The same of all times, as far as the kernel says which group a victim was in.
pub(crate) fn explained_victim(log: KernelLog, name: &str) -> Option<Victim> {
    // More than there can be of kills that are not explained.
    has_pids_of_the_log().then(|| find(log.messages(), name, u64::MAX)).flatten()
}

fn has_pids_of_the_log() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|own| own.as_os_str() == FIRST_PID_NAMESPACE)
}

/// The kernel writes two messages about a kill. The one with the group's name it leaves out when
/// there were many of late (`oom_rs` in mm/oom_kill.c allows 10 in 5 seconds), the one with the
/// process never. So a kill of no known group is ours if there are just as many of them as ours.
fn find(messages: impl Iterator<Item = String>, group: &str, kills: u64) -> Option<Victim> {
    let mut explained = Vec::new();
    let mut killed = Vec::new();
    let mut ours = None;
    for message in messages {
        if let Some(explanation) = Explanation::parse(&message) {
            explained.push(explanation.victim.pid);
            ours = explanation.victim_in(group).or(ours);
        } else if let Some(victim) = parse_kill(&message) {
            killed.push(victim);
        }
    }
    ours.or_else(|| {
        killed.retain(|victim| !explained.contains(&victim.pid));
        killed.pop().filter(|_| u64::try_from(killed.len() + 1) == Ok(kills))
    })
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
        let fields = message.strip_prefix("oom-kill:")?;
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
    fn victim_in(self, group: &str) -> Option<Victim> {
        let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let wanted = parts(group);
        let limited = parts(&self.limited);
        let is_in = |path: &[String]| path.windows(wanted.len()).any(|part| part == wanted);
        let whose = match limited {
            limited if limited.ends_with(&wanted) => Whose::Own,
            limited if is_in(&limited) => Whose::Below,
            _ => Whose::Above,
        };
        is_in(&parts(&self.killed_in)).then_some(Victim { limit: Some(whose), ..self.victim })
    }
}

/// Reads `Memory cgroup out of memory: Killed process 4242 (tail) total-vm:…`, as
/// __oom_kill_process() in mm/oom_kill.c writes it.
fn parse_kill(message: &str) -> Option<Victim> {
    let (_, fields) = message.split_once("emory: Killed process ")?;
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

    #[test]
    fn the_victim_of_the_group_is_found_and_whose_limit_it_was() {
        for (limited, killed_in, group, limit) in [
            (",oom_memcg=/a/g", "/a/g", "g", Whose::Own),
            (",oom_memcg=/a/g/h", "/a/g/h", "g/h", Whose::Own),
            (",oom_memcg=/a/g", "/a/g/h", "g", Whose::Own),
            (",oom_memcg=/a/g/h", "/a/g/h", "g", Whose::Below),
            (",oom_memcg=/a", "/a/g", "g", Whose::Above),
            (",global_oom", "/a/g", "g", Whose::Above),
        ] {
            let messages = [explained(limited, killed_in, 42), killed(42)];
            assert_eq!(find(messages.into_iter(), group, 1), Some(victim(42, Some(limit))), "{limited}");
        }
    }

    #[test]
    fn other_groups_victims_are_not() {
        for killed_in in ["/a/h", "/a/gg"] {
            let messages = [explained(",oom_memcg=/a/h", killed_in, 42), killed(42), "hello".into()];
            assert_eq!(find(messages.into_iter(), "g", 1), None, "{killed_in}");
        }
    }

    #[test]
    fn a_kill_that_the_kernel_does_not_explain_is_ours_only_if_it_can_be_no_others() {
        let other = [explained(",oom_memcg=/h", "/h", 7), killed(7)];
        let messages = |ours: &[i32]| {
            other.clone().into_iter().chain(ours.iter().copied().map(killed)).collect::<Vec<_>>()
        };
        assert_eq!(find(messages(&[8]).into_iter(), "g", 1), Some(victim(8, None)));
        assert_eq!(find(messages(&[8, 9]).into_iter(), "g", 2), Some(victim(9, None)));
        assert_eq!(find(messages(&[8, 9]).into_iter(), "g", 1), None);
        assert_eq!(find(messages(&[]).into_iter(), "g", 1), None);
    }
}
