//! What a command finds where a contestant runs it: contestants are compared only if it is the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
};

/// Prints what there is in a box: the processes in /proc, a line for each namespace, the mounts that
/// others see, and the limits of its groups on cgroup v1, each after the file that it is in.
pub(crate) const QUESTION: [&str; 3] = [
    "/bin/sh",
    "-c",
    r"echo /proc/[0-9]*; for kind in /proc/self/ns/*; do readlink $kind; done
      grep ' shared:' /proc/self/mountinfo
      for group in $(sed -n 's,^[0-9]*:\([^:]*\):,/sys/fs/cgroup/\1,p' /proc/self/cgroup); do
          grep -sH '' $group/memory.limit_in_bytes $group/memory.memsw.limit_in_bytes $group/pids.max
      done; :",
];

/// What is a command's own, and not that of the process that runs the contestants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inside {
    /// Kinds of namespaces, as files in /proc/PID/ns are named.
    namespaces: BTreeSet<String>,
    /// /proc shows the command's own pid namespace, where the command is process 1 and alone.
    proc: bool,
    /// No mount or unmount in it is seen outside.
    private_mounts: bool,
    /// The limits of a group that this process is not in, by the kernel's files.
    limits: BTreeMap<String, String>,
}

impl Inside {
    /// New namespaces of these kinds, with the /proc and the private mounts that belong to them.
    pub(crate) fn new(namespaces: &[&str]) -> Self {
        let has = |kind| namespaces.contains(&kind);
        Self {
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            proc: has("pid") && has("mnt"),
            private_mounts: has("mnt"),
            limits: BTreeMap::new(),
        }
    }

    /// A group with these limits besides.
    pub(crate) fn held_to(self, limits: &[(&str, &str)]) -> Self {
        let limits = limits.iter().map(|(file, limit)| ((*file).to_owned(), (*limit).to_owned())).collect();
        Self { limits, ..self }
    }

    /// From the answer to [`QUESTION`].
    pub(crate) fn told_by(answer: &str) -> Self {
        let (processes, rest) = answer.split_once('\n').unwrap_or((answer, ""));
        let namespaces: BTreeSet<_> = rest
            .lines()
            .filter(|line| line.ends_with(']') && !is_outside(line))
            .filter_map(|line| line.split_once(":["))
            .map(|(kind, _)| kind.to_owned())
            .collect();
        Self {
            private_mounts: namespaces.contains("mnt") && !rest.contains(" shared:"),
            proc: processes == "/proc/1",
            limits: rest.lines().filter_map(limit).collect(),
            namespaces,
        }
    }
}

/// Whether a namespace, named as by readlink(1), is that of this process.
fn is_outside(namespace: &str) -> bool {
    let kind = namespace.split_once(':').map_or(namespace, |(kind, _)| kind);
    fs::read_link(format!("/proc/self/ns/{kind}")).is_ok_and(|own| own.as_os_str() == namespace)
}

/// The limit that a line tells, if it is not that of a group which this process is in.
fn limit(line: &str) -> Option<(String, String)> {
    let (path, limit) = line.strip_prefix("/sys/fs/cgroup/").and(line.rsplit_once(':'))?;
    let path = Path::new(path);
    let is_outside = own_groups().any(|(_, own)| path.parent() == Some(&own));
    (!is_outside).then(|| Some((path.file_name()?.to_str()?.to_owned(), limit.to_owned())))?
}

/// The directory of the group of cgroup v1 that this process is in, in the tree of a controller.
pub(crate) fn own_group(controller: &str) -> Option<PathBuf> {
    own_groups()
        .find(|(controllers, _)| controllers.split(',').any(|name| name == controller))
        .map(|(_, dir)| dir)
}

fn own_groups() -> impl Iterator<Item = (String, PathBuf)> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), format!("/sys/fs/cgroup/{controllers}{path}").into()))
    };
    groups.lines().filter_map(group).collect::<Vec<_>>().into_iter()
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut own: Vec<_> = self.namespaces.iter().cloned().collect();
        own.extend(self.proc.then(|| "/proc".into()));
        own.extend(self.private_mounts.then(|| "private mounts".into()));
        own.extend(self.limits.iter().map(|(file, limit)| format!("{file}={limit}")));
        if own.is_empty() { write!(f, "nothing of its own") } else { write!(f, "its own {}", own.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "/proc/1\nipc:[1]\nmnt:[2]\npid:[3]\nuts:[4]\n";

    #[test]
    fn an_answer_tells_what_is_new() {
        assert_eq!(Inside::told_by(ANSWER), Inside::new(&["uts", "pid", "mnt", "ipc"]));
    }

    #[test]
    fn what_is_the_same_outside_is_not_new() {
        let own = fs::read_link("/proc/self/ns/uts").expect("proc").display().to_string();
        assert_eq!(Inside::told_by(&format!("/proc/1 /proc/7\n{own}\n")), Inside::default());
    }

    #[test]
    fn the_proc_of_outside_and_a_shared_mount_are_no_box() {
        let wanted = Inside::new(&["uts", "pid", "mnt", "ipc"]);
        assert_ne!(Inside::told_by(&ANSWER.replace("/proc/1", "/proc/1 /proc/2")), wanted);
        assert_ne!(
            Inside::told_by(&format!("{ANSWER}22 1 0:21 / /sys rw shared:7 - sysfs sysfs rw\n")),
            wanted
        );
    }

    #[test]
    fn a_limit_counts_if_it_is_not_that_of_a_group_outside() {
        let line = |dir: &Path| format!("{}/pids.max:50", dir.display());
        let told = |dir: &Path| Inside::told_by(&format!("/proc/1 /proc/7\n{}\n", line(dir)));
        let new = Path::new("/sys/fs/cgroup/pids/new");
        assert_eq!(told(new), Inside::default().held_to(&[("pids.max", "50")]));
        for (_, own) in own_groups() {
            assert_eq!(told(&own), Inside::default());
            assert_ne!(told(&own.join("below")), Inside::default());
        }
    }

    #[test]
    fn a_box_is_named_by_what_is_its_own() {
        assert_eq!(Inside::new(&["pid", "mnt"]).to_string(), "its own mnt, pid, /proc, private mounts");
        let held = Inside::new(&["uts"]).held_to(&[("pids.max", "50")]);
        assert_eq!(held.to_string(), "its own uts, pids.max=50");
        assert_eq!(Inside::new(&[]).to_string(), "nothing of its own");
    }
}
