//! Why the kernel makes no namespace: which limit or which switch of the machine it was.

use std::fs;

use chain::Error;
use nix::{errno::Errno, sched::CloneFlags, unistd::geteuid};

use crate::kind::Kind;

/// The switches by which distributions forbid user namespaces to ordinary users: the file, and the
/// value at which it does.
const SWITCHES: [(&str, &str); 2] = [
    // Debian's and its children's.
    ("/proc/sys/kernel/unprivileged_userns_clone", "0"),
    // Ubuntu's, from 23.10 on.
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"),
];

/// What to do about the refusal to make `namespaces`, `words` being what was asked for.
pub(crate) fn advice(namespaces: CloneFlags, words: &str, errno: Errno) -> Option<String> {
    match errno {
        Errno::EPERM if geteuid().is_root() => Some("CAP_SYS_ADMIN is missing; add user".into()),
        Errno::EPERM => Some(format!("run as root, or add user: ns-enter user,{words} -- ...")),
        Errno::ENOSPC => Some(limits(namespaces, read)),
        Errno::EINVAL => Some("this kernel does not have all of these kinds; see ls /proc/self/ns".into()),
        _ => None,
    }
}

/// What to do about the refusal of a user namespace.
pub(crate) fn user() -> String {
    knob().unwrap_or_else(|| {
        let status = read("/proc/self/status").unwrap_or_default();
        // SECCOMP_MODE_FILTER of prctl(2).
        if status.lines().any(|line| line == "Seccomp:\t2") {
            "the caller has a seccomp filter, which may forbid it; if that is a box's, it needs --seccomp none --proc-full"
        } else {
            "the caller is in a chroot, or its ids are not mapped where it is"
        }
        .into()
    })
}

/// The refusal of a kind that is made apart from the others.
pub(crate) fn error(kind: Kind, errno: Errno) -> Error {
    let error = Error::os(format!("new {kind} namespace"), errno);
    match errno {
        Errno::EPERM => error.hint("run as root, or add user"),
        Errno::ENOSPC => error.hint(limits(kind.flag(), read)),
        Errno::EINVAL => error.hint("this kernel has none; see ls /proc/self/ns"),
        _ => error,
    }
}

/// The switch that forbids user namespaces to this caller, if one does.
pub(crate) fn knob() -> Option<String> {
    if geteuid().is_root() { None } else { switch(read) }
}

fn switch(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    SWITCHES
        .into_iter()
        .find(|(file, forbids)| read(file).as_deref() == Some(*forbids))
        .map(|(file, forbids)| format!("this machine forbids it to ordinary users: {file} is {forbids}"))
}

/// namespaces(7), "The /proc/sys/user directory"; more than 32 in each other are refused alike.
fn limits(namespaces: CloneFlags, read: impl Fn(&str) -> Option<String>) -> String {
    let limits: Vec<_> = Kind::ALL
        .into_iter()
        .filter(|kind| namespaces.contains(kind.flag()))
        .filter_map(|kind| {
            let file = format!("/proc/sys/user/max_{kind}_namespaces");
            read(&file).map(|limit| (kind, file, limit))
        })
        .collect();
    if let Some((_, file, _)) = limits.iter().find(|(_, _, limit)| limit == "0") {
        return format!("this machine forbids it: {file} is 0");
    }
    let nests = |kind: Kind| matches!(kind, Kind::User | Kind::Pid);
    let depth = match limits.iter().find(|(kind, ..)| nests(*kind)) {
        Some((kind, ..)) => {
            format!("there are 32 {kind} namespaces in each other, the most there can be, or ")
        }
        None => String::new(),
    };
    let limits: Vec<_> = limits.iter().map(|(_, file, limit)| format!("{file} ({limit})")).collect();
    format!("{depth}a limit is reached: {}", limits.join(", "))
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switch_that_forbids_is_named() {
        let debian = |file: &str| file.ends_with("unprivileged_userns_clone").then(|| "0".to_owned());
        assert_eq!(
            switch(debian).as_deref(),
            Some(
                "this machine forbids it to ordinary users: /proc/sys/kernel/unprivileged_userns_clone is 0"
            )
        );
        let ubuntu = |_: &str| Some("1".to_owned());
        assert!(switch(ubuntu).expect("a switch").contains("apparmor_restrict_unprivileged_userns is 1"));
        assert_eq!(switch(|_| None), None);
    }

    #[test]
    fn a_limit_is_named_and_the_depth_where_it_can_be_that() {
        let none = |file: &str| Some(if file.contains("max_user") { "0" } else { "9" }.to_owned());
        let both = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWPID;
        assert_eq!(limits(both, none), "this machine forbids it: /proc/sys/user/max_user_namespaces is 0");
        let pid = limits(CloneFlags::CLONE_NEWPID, none);
        assert!(pid.starts_with("there are 32 pid namespaces in each other"), "{pid}");
        assert!(pid.ends_with("a limit is reached: /proc/sys/user/max_pid_namespaces (9)"), "{pid}");
        assert_eq!(
            limits(CloneFlags::CLONE_NEWNET, none),
            "a limit is reached: /proc/sys/user/max_net_namespaces (9)"
        );
    }
}
