//! Profiles in the JSON form of the OCI runtime specification (config-linux.md, "Seccomp"), with what the
//! files of docker and podman have beyond it: rules for some capabilities, machines and kernels only. What
//! is not understood is an error, as a rule that is passed over could be the one that matters.

use std::str::FromStr;

use caps::Capability;
use chain::{Error, Result};
use seccompiler::{SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};
use serde::Deserialize;

use super::{
    profile::{Profile, Rule, When, errno},
    syscalls,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    default_action: String,
    default_errno_ret: Option<u32>,
    /// The name of that number, for people.
    default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<ArchMap>>,
    flags: Option<Vec<String>>,
    syscalls: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchMap {
    architecture: String,
    /// Other entry points to let in, which stay closed.
    #[serde(rename = "subArchitectures")]
    _others: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    errno: Option<String>,
    args: Option<Vec<Arg>>,
    includes: Option<Condition>,
    excludes: Option<Condition>,
    #[serde(rename = "comment")]
    _comment: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Arg {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

/// This machine as the specification and as Go call it.
const HERE: (&str, &str) = if cfg!(target_arch = "x86_64") {
    ("SCMP_ARCH_X86_64", "amd64")
} else if cfg!(target_arch = "aarch64") {
    ("SCMP_ARCH_AARCH64", "arm64")
} else {
    ("SCMP_ARCH_RISCV64", "riscv64")
};

/// The largest error number that a system call can return: MAX_ERRNO of linux/err.h.
const MAX_ERRNO: u32 = 4095;

/// Makes a profile of the file's text.
pub(super) fn read(text: &str) -> Result<Profile> {
    let file: File = serde_json::from_str(text).map_err(|error| Error::new("JSON", error.to_string()))?;
    let listed = file
        .architectures
        .iter()
        .flatten()
        .chain(file.arch_map.iter().flatten().map(|map| &map.architecture));
    let listed: Vec<_> = listed.collect();
    if !listed.is_empty() && !listed.iter().any(|name| *name == HERE.0) {
        return Err(Error::new(
            "architectures",
            format!("{} is not among them, which this machine is", HERE.0),
        ));
    }
    if let Some(flag) = file.flags.iter().flatten().find(|flag| *flag != "SECCOMP_FILTER_FLAG_TSYNC") {
        return Err(Error::new(format!("flag {flag}"), "not one that can be given here")
            .hint("leave it out; --seccomp-log is SECCOMP_FILTER_FLAG_LOG"));
    }
    let default = action(&file.default_action, file.default_errno_ret, file.default_errno.as_deref())?;
    let rules = file.syscalls.into_iter().flatten().map(rule).filter_map(Result::transpose);
    Ok(Profile { default, rules: rules.collect::<Result<_>>()? })
}

/// `None` if the entry is for other machines or kernels.
fn rule(entry: Entry) -> Result<Option<Rule>> {
    let within = |error: Error| error.within(entry.names.first().map_or("an entry", String::as_str));
    if entry.names.is_empty() {
        return Err(Error::new("syscalls", "an entry without names"));
    }
    if let Some(name) = entry.names.iter().find(|name| !syscalls::is_known(name)) {
        return Err(Error::new(name, "no machine has a system call of this name"));
    }
    let action = action(&entry.action, entry.errno_ret, entry.errno.as_deref()).map_err(within)?;
    let args: Vec<_> = entry.args.into_iter().flatten().collect();
    for (at, arg) in args.iter().enumerate() {
        if args[..at].iter().any(|other| other.index == arg.index) {
            return Err(within(
                Error::new(
                    format!("two conditions on argument {}", arg.index),
                    "some engines take either, others both",
                )
                .hint("write an entry for each"),
            ));
        }
    }
    let args = args.iter().map(condition).collect::<Result<_>>().map_err(within)?;
    let (includes, excludes) = (entry.includes.unwrap_or_default(), entry.excludes.unwrap_or_default());
    let when = When {
        with: capabilities(&includes).map_err(within)?,
        without: capabilities(&excludes).map_err(within)?,
    };
    let is_here = |arches: &Vec<String>| arches.iter().any(|name| name == HERE.1);
    let here = includes.arches.as_ref().is_none_or(|arches| arches.is_empty() || is_here(arches))
        && !excludes.arches.as_ref().is_some_and(is_here)
        && new_enough(includes.min_kernel.as_deref()).map_err(within)?.unwrap_or(true)
        && !new_enough(excludes.min_kernel.as_deref()).map_err(within)?.unwrap_or(false);
    let names: Vec<_> = entry.names.iter().map(String::as_str).collect();
    Ok(here.then(|| Rule { args, when, ..Rule::new(&names, action) }))
}

fn capabilities(condition: &Condition) -> Result<Vec<Capability>> {
    let known = |name: &String| {
        Capability::from_str(name)
            .map_err(|_| Error::new(format!("capability {name}"), "there is none of this name"))
    };
    condition.caps.iter().flatten().map(known).collect()
}

fn action(name: &str, ret: Option<u32>, errno_name: Option<&str>) -> Result<SeccompAction> {
    let doing = || format!("action {name}");
    let number = match (ret, errno_name) {
        (Some(number), _) if number > MAX_ERRNO => {
            return Err(Error::new(doing(), format!("no error has number {number}")));
        }
        (None, Some(errno)) if !errno.is_empty() => {
            return Err(Error::new(doing(), format!("{errno} without its number")).hint("write errnoRet too"));
        }
        (number, _) => number,
    };
    let action = match name {
        "SCMP_ACT_ALLOW" => SeccompAction::Allow,
        "SCMP_ACT_ERRNO" => return Ok(number.map_or(errno(libc::EPERM), SeccompAction::Errno)),
        "SCMP_ACT_TRACE" => return Ok(SeccompAction::Trace(number.unwrap_or(libc::EPERM.cast_unsigned()))),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => SeccompAction::KillThread,
        "SCMP_ACT_KILL_PROCESS" => SeccompAction::KillProcess,
        "SCMP_ACT_TRAP" => SeccompAction::Trap,
        "SCMP_ACT_LOG" => SeccompAction::Log,
        "SCMP_ACT_NOTIFY" => return Err(Error::new(doing(), "nobody is there to be notified")),
        _ => return Err(Error::new(doing(), "there is none of this name")),
    };
    match number {
        Some(number) => Err(Error::new(doing(), format!("it has no error, and {number} is given"))),
        None => Ok(action),
    }
}

fn condition(arg: &Arg) -> Result<SeccompCondition> {
    let (op, value) = match arg.op.as_str() {
        "SCMP_CMP_NE" => (SeccompCmpOp::Ne, arg.value),
        "SCMP_CMP_LT" => (SeccompCmpOp::Lt, arg.value),
        "SCMP_CMP_LE" => (SeccompCmpOp::Le, arg.value),
        "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, arg.value),
        "SCMP_CMP_GE" => (SeccompCmpOp::Ge, arg.value),
        "SCMP_CMP_GT" => (SeccompCmpOp::Gt, arg.value),
        "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(arg.value), arg.value_two),
        op => return Err(Error::new(format!("comparison {op}"), "there is none of this name")),
    };
    if arg.value_two != 0 && !matches!(op, SeccompCmpOp::MaskedEq(_)) {
        return Err(Error::new(format!("comparison {}", arg.op), "it takes no valueTwo"));
    }
    SeccompCondition::new(arg.index, SeccompCmpArgLen::Qword, op, value)
        .map_err(|_| Error::new(format!("argument {}", arg.index), "they are 0 to 5"))
}

/// Whether this kernel is of that version, `4.8`, or a later one; `None` if none is named.
fn new_enough(version: Option<&str>) -> Result<Option<bool>> {
    let Some(wanted) = version.filter(|version| !version.is_empty()) else { return Ok(None) };
    let parse = |text: &str| -> Option<(u32, u32)> {
        let (major, rest) = text.split_once('.')?;
        let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    let numbers =
        wanted.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    let wanted = parse(wanted)
        .filter(|_| numbers && wanted.split('.').count() == 2)
        .ok_or_else(|| Error::new(format!("minKernel {wanted}"), "not a version such as 4.8"))?;
    let release = rustix::system::uname();
    Ok(Some(release.release().to_str().ok().and_then(parse).is_some_and(|present| present >= wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prelude::*, sample::select};

    fn with(entry: &str) -> Result<Profile> {
        read(&format!(
            r#"{{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [{entry}]}}"#
        ))
    }

    #[test]
    fn what_other_engines_write_is_read() {
        let podman = r#"{"names": ["bind"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "", "includes": {},
            "excludes": {}}, {"names": ["chown32"], "action": "SCMP_ACT_ERRNO", "args": [], "errnoRet": 1,
            "errno": "EPERM"}"#;
        let profile = with(podman).expect("read");
        assert_eq!(profile.default, SeccompAction::Errno(38));
        assert_eq!(profile.rules[0], Rule::allow(&["bind"]));
        assert!(profile.rules[1].numbers.is_empty(), "a system call of another machine");
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for entry in [
            r#"{"names": [], "action": "SCMP_ACT_ALLOW"}"#,
            r#"{"names": ["raed"], "action": "SCMP_ACT_ALLOW"}"#,
            r#"{"name": "read", "action": "SCMP_ACT_ALLOW"}"#,
            r#"{"names": ["read"], "action": "ALLOW"}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_TRACE", "errnoRet": 65535}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ERRNO", "errno": "EPERM"}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "priority": 1}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"kernel": "4.8"}}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_NET"]}}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4"}}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8-rc1"}}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}]}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "==", "value": 1}]}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ"}]}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": -1}]}"#,
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "op": "SCMP_CMP_GE", "value": 1}, {"index": 0, "op": "SCMP_CMP_LE", "value": 5}]}"#,
        ] {
            assert!(with(entry).is_err(), "{entry}");
        }
        for text in [
            "",
            "[]",
            "{}",
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_S390X"]}"#,
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/seccomp"}"#,
            r#"{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]}"#,
            r#"{"defaultAction": "SCMP_ACT_ALLOW"} {}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(
            text in "\\PC*",
            pieces in proptest::collection::vec(select(vec![
                "{", "}", "[", "]", ",", ":", "\"names\"", "\"read\"", "\"action\"", "\"SCMP_ACT_ERRNO\"", "\"args\"",
                "\"index\"", "\"value\"", "\"op\"", "\"SCMP_CMP_EQ\"", "1", "99999999999999999999", "-1", "null",
                "\"defaultAction\"", "\"syscalls\"", "\"includes\"", "\"minKernel\"", "\"9.\"", "\"errnoRet\"",
            ]), 0..30),
        ) {
            let _ = (read(&text), read(&pieces.concat()), with(&pieces.concat()));
        }
    }
}
