//! Who was killed for memory: the kernel says it in its log.

use std::fs;

/// The inode of the first pid namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h). The log has
/// the pids of that one.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A process that the kernel killed for memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Victim {
    pub(crate) name: String,
    pub(crate) pid: i32,
    /// It was the limit of the asked group that was passed, not that of a group above it.
    pub(crate) own_limit: bool,
}

/// The process of the group `name`, or of one below it, that was killed last, if the log may be
/// read and speaks of it (the line of dump_oom_victim() in mm/oom_kill.c).
pub(crate) fn last_victim(name: &str) -> Option<Victim> {
    if fs::read_link("/proc/self/ns/pid").ok()?.to_str()? != FIRST_PID_NAMESPACE {
        return None;
    }
    chain::kernel_log::records().filter_map(|record| parse(&record.text, name)).last()
}

/// Reads `…,oom_memcg=/a,task_memcg=/a/b,task=tail,pid=4242,uid=0`.
fn parse(message: &str, group: &str) -> Option<Victim> {
    let (_, fields) = message.split_once("oom-kill:")?;
    let (_, fields) = fields.split_once(",oom_memcg=")?;
    let (limited, fields) = fields.split_once(",task_memcg=")?;
    let (killed_in, fields) = fields.split_once(",task=")?;
    let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let wanted = parts(group);
    if !parts(killed_in).windows(wanted.len()).any(|part| part == wanted) {
        return None;
    }
    // The process's name may hold a comma, so the pid is looked for from the end.
    let (name, pid) = fields.rsplit_once(",pid=")?;
    let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
    let own_limit = parts(limited).ends_with(&wanted);
    Some(Victim { name: name.to_owned(), pid: digits.parse().ok()?, own_limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(limited: &str, killed_in: &str) -> String {
        format!(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
             oom_memcg={limited},task_memcg={killed_in},task=ta,il,pid=4242,uid=0"
        )
    }

    #[test]
    fn the_victim_of_the_group_is_found_and_whose_limit_it_was() {
        let victim = |own_limit| Some(Victim { name: "ta,il".into(), pid: 4242, own_limit });
        assert_eq!(parse(&record("/a/g", "/a/g"), "g"), victim(true));
        assert_eq!(parse(&record("/a/g/h", "/a/g/h"), "g/h"), victim(true));
        assert_eq!(parse(&record("/a/g", "/a/g/h"), "g"), victim(true));
        assert_eq!(parse(&record("/a", "/a/g"), "g"), victim(false));
    }

    #[test]
    fn other_groups_victims_are_not() {
        assert_eq!(parse(&record("/a/g", "/a/g"), "h"), None);
        assert_eq!(parse(&record("/a/gg", "/a/gg"), "g"), None);
        assert_eq!(parse("hello", "g"), None);
    }
}
