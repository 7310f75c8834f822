//! Who was killed for memory: the kernel says it in its log.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read},
    os::unix::fs::OpenOptionsExt,
};

use nix::libc;

/// The inode of the first pid namespace (PROC_PID_INIT_INO in include/linux/proc_ns.h). The log has
/// the pids of that one.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Name and pid of the process of the group `path` that was killed last, if the log may be read and
/// speaks of it (the line of dump_oom_victim() in mm/oom_kill.c).
pub(crate) fn last_victim(path: &str) -> Option<(String, i32)> {
    if fs::read_link("/proc/self/ns/pid").ok()?.to_str()? != FIRST_PID_NAMESPACE {
        return None;
    }
    let mut log = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").ok()?;
    let mut victim = None;
    // A record is at most 8 KiB (CONSOLE_EXT_LOG_MAX), and each read gives one.
    let mut record = [0; 8192];
    loop {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => {
                let record = String::from_utf8_lossy(&record[..length]);
                victim = parse(&record, path).or(victim);
            }
            // EPIPE: older records were overwritten while we read; the next read goes on.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
            Err(_) => break,
        }
    }
    victim
}

/// Reads `…,task_memcg=/a/b,task=tail,pid=4242,uid=0`.
fn parse(record: &str, path: &str) -> Option<(String, i32)> {
    let (_, fields) = record.split_once("oom-kill:")?;
    let (_, fields) = fields.split_once(",task_memcg=")?;
    let (group, fields) = fields.split_once(",task=")?;
    let group = group.strip_prefix(path).or_else(|| group.split_once(path).map(|(_, below)| below))?;
    if !(group.is_empty() || group.starts_with('/')) {
        return None;
    }
    // The process's name may hold a comma, so the pid is looked for from the end.
    let (name, pid) = fields.rsplit_once(",pid=")?;
    let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
    Some((name.to_owned(), digits.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
        oom_memcg=/a/g,task_memcg=/a/g,task=ta,il,pid=4242,uid=0\n";

    #[test]
    fn the_victim_of_the_group_is_found() {
        assert_eq!(parse(RECORD, "/a/g"), Some(("ta,il".into(), 4242)));
        assert_eq!(parse(RECORD, "/g"), Some(("ta,il".into(), 4242)));
    }

    #[test]
    fn other_groups_victims_are_not() {
        assert_eq!(parse(RECORD, "/h"), None);
        assert_eq!(parse(&RECORD.replace("=/a/g,task=", "=/a/gg,task="), "/a/g"), None);
        assert_eq!(parse("6,1,2,-;hello", "/a/g"), None);
    }
}
