//! The maps of a new user namespace: who writes them, and who NEXT is in it (user_namespaces(7)).

use chain::{Doing, Error, Remedy, Result};
use nix::{
    errno::Errno,
    unistd::{Gid, Pid, Uid, getegid, geteuid, getgroups, setgroups, setresgid, setresuid},
};

use crate::{
    forbidden,
    idmap::{Map, Owner, Range},
    proc::Proc,
    subid::Ids,
};

/// CAP_SETGID and CAP_SETUID, as bits of CapEff (include/uapi/linux/capability.h).
const SET_IDS: u64 = 1 << 6 | 1 << 7;

/// The ids of a new user namespace, as they will be written.
#[derive(Debug)]
pub(crate) struct UserNs {
    uids: Vec<Range>,
    gids: Vec<Range>,
    writer: Writer,
    proc: Proc,
    /// The user to become.
    user: Option<u32>,
    /// The group to become.
    group: Option<u32>,
}

/// Who may write the maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The process itself: its own ids alone, and without setgroups(2) ever after.
    Itself,
    /// The supervisor, which has the capabilities.
    Supervisor,
    /// Set-user-ID programs, which the supervisor runs.
    Programs,
}

impl UserNs {
    /// Finds the ranges, and who can write them.
    pub(crate) fn new(map: &Map, gid_map: Option<&Map>, owner: Option<Owner>) -> Result<Self> {
        let proc = Proc::open()?;
        let (uid, gid) =
            owner.map_or((geteuid().as_raw(), getegid().as_raw()), |owner| (owner.uid, owner.gid));
        let ranges = |ids: Ids, asked: &str, map: &Map, own| match map {
            Map::Own(id) => Ok(vec![Range { inside: *id, outside: own, count: 1 }]),
            Map::Auto => ids.auto(asked, uid, own),
            Map::None => Ok(Vec::new()),
            Map::Ranges(ranges) => Ok(ranges.clone()),
        };
        let uids = ranges(Ids::Users, "user=auto", map, uid)?;
        let gids = match gid_map {
            Some(map) => ranges(Ids::Groups, "--gid-map auto", map, gid)?,
            None => ranges(Ids::Groups, "user=auto", map, gid)?,
        };
        let is_own = |ranges: &[Range], own| match ranges {
            [] => true,
            [range] => range.outside == own && range.count == 1,
            _ => false,
        };
        let writer = if owner.is_none() && is_own(&uids, uid) && is_own(&gids, gid) {
            Writer::Itself
        } else if effective_capabilities(&proc)? & SET_IDS == SET_IDS {
            Writer::Supervisor
        } else {
            Writer::Programs
        };
        let (user, group) = (first_unless_mapped(&uids, uid), first_unless_mapped(&gids, gid));
        Ok(Self { uids, gids, writer, proc, user, group })
    }

    /// Whether the supervisor has to do something about the maps.
    pub(crate) fn needs_supervisor(&self) -> bool {
        self.writer != Writer::Itself
    }

    /// In the supervisor, while the child waits.
    pub(crate) fn map_from_outside(&self, child: Pid) -> Result<()> {
        for (ids, ranges) in [(Ids::Groups, &self.gids), (Ids::Users, &self.uids)] {
            match self.writer {
                _ if ranges.is_empty() => {}
                Writer::Itself => {}
                Writer::Supervisor => self.write(&child.to_string(), ids.map_file(), &lines(ranges))?,
                Writer::Programs => ids.map_by_program(child, ranges)?,
            }
        }
        Ok(())
    }

    /// In the new namespace: the maps that the process writes itself.
    pub(crate) fn map_itself(&self) -> Result<()> {
        if self.writer == Writer::Itself {
            if !self.gids.is_empty() {
                self.write("self", "setgroups", "deny")?;
                self.write("self", Ids::Groups.map_file(), &lines(&self.gids))?;
            }
            if !self.uids.is_empty() {
                self.write("self", Ids::Users.map_file(), &lines(&self.uids))?;
            }
        }
        Ok(())
    }

    /// In the new namespace, once it is mapped: becomes who NEXT is. From then on the files in
    /// /proc/self are out of reach until exec (PR_SET_DUMPABLE in prctl(2)), and so is this process for
    /// those who are the same outside.
    pub(crate) fn become_mapped(&self) -> Result<()> {
        become_ids(self.user, self.group)
    }

    /// What the kernel is asked, in words.
    pub(crate) fn steps(&self) -> Vec<String> {
        let shown = |ranges: &[Range]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let by = match self.writer {
            Writer::Itself => "",
            Writer::Supervisor => " from outside",
            Writer::Programs => " by newuidmap and newgidmap",
        };
        let mut steps = Vec::new();
        if self.writer == Writer::Itself && !self.gids.is_empty() {
            steps.push("give up setgroups(2)".into());
        }
        if !self.gids.is_empty() {
            steps.push(format!("map groups (inside:outside:count){by}: {}", shown(&self.gids)));
        }
        if !self.uids.is_empty() {
            steps.push(format!("map users (inside:outside:count){by}: {}", shown(&self.uids)));
        }
        let ids = [("group", self.group), ("user", self.user)];
        steps.extend(ids.iter().filter_map(|(what, id)| Some(format!("become {what} {}", (*id)?))));
        steps
    }

    fn write(&self, process: &str, name: &str, text: &str) -> Result<()> {
        let path = format!("{process}/{name}");
        let doing = || format!("write {:?} to /proc/{path}", text.trim_end());
        self.proc
            .write(&path, text)
            .doing(doing)
            .map_err(|error| match forbidden::knob() {
                Some(knob) if error.errno() == Some(Errno::EPERM) => error.hint(knob),
                _ => error,
            })
            .remedy(Errno::EINVAL, "the ids outside must be mapped where the caller is")
    }
}

/// The id to become if the own one is not in the map: the one that the map gives first, or 0.
fn first_unless_mapped(ranges: &[Range], own: u32) -> Option<u32> {
    if ranges.iter().any(|range| range.holds_outside(own)) {
        return None;
    }
    let holds_root = ranges.iter().any(|range| range.inside == 0);
    ranges.first().map(|range| if holds_root { 0 } else { range.inside })
}

/// Lets the user namespaces that this process makes from now on belong to `owner`: that is whoever it
/// is effectively (create_user_ns() in kernel/user_namespace.c, Linux 6.18).
pub(crate) fn make_for(owner: Owner) -> Result<()> {
    let doing = || format!("--owner {owner}");
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    // For good: with ids that are not mapped it would still be root outside.
    setgroups(&[]).doing(doing).remedy(Errno::EPERM, ONLY_ROOT)?;
    setresgid(gid, gid, gid).doing(doing).remedy(Errno::EPERM, ONLY_ROOT)?;
    setresuid(uid, uid, uid).doing(doing).remedy(Errno::EPERM, ONLY_ROOT)
}

const ONLY_ROOT: &str = "only root may give a user namespace away";

/// Becomes root in the user namespace that was just joined, if the own ids have no name there, and it
/// has a root.
pub(crate) fn become_root_if_nobody(proc: &Proc) -> Result<()> {
    let read = |file: &str| proc.read(file).doing(|| format!("read /proc/{file}"));
    let is_nobody = |id: u32, file: &str| read(file).map(|nobody| nobody.trim().parse() == Ok(id));
    let has_root = |file: &str| {
        read(file).map(|map| map.lines().any(|line| line.split_whitespace().next() == Some("0")))
    };
    let uid = is_nobody(geteuid().as_raw(), "sys/kernel/overflowuid")? && has_root("self/uid_map")?;
    let gid = is_nobody(getegid().as_raw(), "sys/kernel/overflowgid")? && has_root("self/gid_map")?;
    become_ids(uid.then_some(0), gid.then_some(0))
}

/// Groups first: with the user go the rights to change them.
fn become_ids(uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    if uid.is_none() && gid.is_none() {
        return Ok(());
    }
    match setgroups(&[]) {
        // The namespace has setgroups(2) denied, or no map of groups.
        Err(Errno::EPERM) if getgroups().is_ok_and(|groups| groups.is_empty()) => {}
        Err(Errno::EPERM) if uid.is_some() && gid.is_none() => {
            return Err(Error::os("give up the supplementary groups", Errno::EPERM)
                .hint("map groups too, so that it can be done"));
        }
        done => done.doing(|| "give up the supplementary groups".into())?,
    }
    if let Some(gid) = gid.map(Gid::from_raw) {
        setresgid(gid, gid, gid).doing(|| format!("become group {gid}"))?;
    }
    if let Some(uid) = uid.map(Uid::from_raw) {
        setresuid(uid, uid, uid).doing(|| format!("become user {uid}"))?;
    }
    Ok(())
}

fn lines(ranges: &[Range]) -> String {
    let line = |range: &Range| format!("{} {} {}", range.inside, range.outside, range.count);
    ranges.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
}

/// The effective capabilities of this process (proc_pid_status(5)).
fn effective_capabilities(proc: &Proc) -> Result<u64> {
    let status = proc.read("self/status").doing(|| "read /proc/self/status".into())?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Ok(mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_mapped_stays_and_who_is_not_becomes_root_or_the_first() {
        let range = |inside, outside, count| Range { inside, outside, count };
        assert_eq!(first_unless_mapped(&[range(5, 1000, 1)], 1000), None);
        assert_eq!(first_unless_mapped(&[range(5, 999, 2)], 1000), None);
        assert_eq!(first_unless_mapped(&[range(5, 999, 1)], 1000), Some(5));
        assert_eq!(first_unless_mapped(&[range(5, 7, 1), range(0, 8, 1)], 1000), Some(0));
        assert_eq!(first_unless_mapped(&[], 1000), None);
    }
}
