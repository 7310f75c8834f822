//! What a command finds where a contestant runs it: contestants are compared only if it is the same.

use std::{collections::BTreeSet, fmt, fs};

/// Prints what there is in a box: the processes in /proc, a line for each namespace, and the mounts
/// that others see.
pub(crate) const QUESTION: [&str; 3] =
    ["/bin/sh", "-c", "echo /proc/[0-9]*; readlink /proc/self/ns/*; grep ' shared:' /proc/self/mountinfo; :"];

/// What is a command's own, and not that of the process that runs the contestants.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inside {
    /// Kinds of namespaces, as files in /proc/PID/ns are named.
    namespaces: BTreeSet<String>,
    /// /proc shows the command's own pid namespace, where the command is process 1 and alone.
    proc: bool,
    /// No mount or unmount in it is seen outside.
    private_mounts: bool,
}

impl Inside {
    /// New namespaces of these kinds, with the /proc and the private mounts that belong to them.
    pub(crate) fn new(namespaces: &[&str]) -> Self {
        let has = |kind| namespaces.contains(&kind);
        Self {
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            proc: has("pid") && has("mnt"),
            private_mounts: has("mnt"),
        }
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
            namespaces,
        }
    }
}

/// Whether a namespace, named as by readlink(1), is that of this process.
fn is_outside(namespace: &str) -> bool {
    let kind = namespace.split_once(':').map_or(namespace, |(kind, _)| kind);
    fs::read_link(format!("/proc/self/ns/{kind}")).is_ok_and(|own| own.as_os_str() == namespace)
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut own: Vec<_> = self.namespaces.iter().map(String::as_str).collect();
        own.extend(self.proc.then_some("/proc"));
        own.extend(self.private_mounts.then_some("private mounts"));
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
    fn a_box_is_named_by_what_is_its_own() {
        assert_eq!(Inside::new(&["pid", "mnt"]).to_string(), "its own mnt, pid, /proc, private mounts");
        assert_eq!(Inside::new(&[]).to_string(), "nothing of its own");
    }
}
