//! System calls: what the profiles refuse, and that it is the filter that does.

mod attack;

use std::fs;

use attack::{answer, compile};
use chain_testing::{Scene, skip};
use nix::libc;

/// Before the kernel looks at anything it may ask for a capability.
const WITHOUT: &str = "priv-drop --caps all";
const DEFAULT: &str = "priv-drop --seccomp default";
const STRICT: &str = "priv-drop --seccomp strict";

#[test]
fn the_default_refuses_what_gives_a_way_out_and_nothing_else_would() {
    let scene = Scene::new();
    compile(&scene);
    for attack in
        ["unshare", "clone", "mount", "keyctl", "bpf", "io_uring", "userfaultfd", "open_by_handle_at"]
    {
        let without = answer(&scene, WITHOUT, attack);
        assert!(without != "EPERM" && without != "ENOSYS", "{attack} gets to the kernel: {without}");
        assert_eq!(answer(&scene, DEFAULT, attack), "EPERM", "{attack}");
        assert_eq!(answer(&scene, STRICT, attack), "EPERM", "{attack}");
    }
}

#[test]
fn a_capability_that_is_kept_opens_what_it_is_for() {
    let scene = Scene::new();
    compile(&scene);
    for (attack, caps) in [
        ("open_by_handle_at", "dac_read_search"),
        ("mount", "sys_admin"),
        ("clone3", "sys_admin"),
        ("bpf", "bpf"),
    ] {
        let tool = format!("{DEFAULT} --caps {caps}");
        let without = format!("priv-drop --caps {caps}");
        assert_eq!(
            answer(&scene, DEFAULT, attack),
            if attack == "clone3" { "ENOSYS" } else { "EPERM" },
            "{attack}"
        );
        assert_eq!(answer(&scene, &tool, attack), answer(&scene, &without, attack), "{attack}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn whoever_comes_by_another_entry_point_is_killed() {
    let scene = Scene::new();
    compile(&scene);
    let killed = format!("signal {}", libc::SIGSYS);
    fs::write(scene.path("open.json"), r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}"#)
        .expect("write");
    assert_eq!(answer(&scene, WITHOUT, "i386"), "done", "it works without the guard");
    for tool in [DEFAULT, STRICT, "priv-drop --seccomp open.json"] {
        assert_eq!(answer(&scene, tool, "i386"), killed);
        assert_eq!(answer(&scene, tool, "x32"), killed);
    }
}

#[test]
fn what_is_newer_than_the_profile_is_missing_and_what_it_knows_is_forbidden() {
    let scene = Scene::new();
    compile(&scene);
    let (newest, older) =
        (format!("syscall {}", libc::SYS_mseal + 1000), format!("syscall {}", libc::SYS_setns));
    for tool in [DEFAULT, STRICT] {
        assert_eq!(answer(&scene, tool, "clone3"), "ENOSYS");
        assert_eq!(answer(&scene, tool, &newest), "ENOSYS");
        assert_eq!(answer(&scene, tool, "syscall -1"), "ENOSYS");
        assert_eq!(answer(&scene, tool, &older), "EPERM");
    }
}

#[test]
fn a_socket_reaches_the_network_and_not_the_host_of_a_virtual_machine() {
    let scene = Scene::new();
    compile(&scene);
    // 2^32 more is the same to the kernel, which takes an int.
    for family in [libc::AF_VSOCK.into(), libc::AF_ALG.into(), (1_i64 << 32) + i64::from(libc::AF_VSOCK)] {
        assert_ne!(answer(&scene, WITHOUT, &format!("socket {family}")), "EPERM");
        assert_eq!(answer(&scene, DEFAULT, &format!("socket {family}")), "EPERM");
    }
    for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6] {
        assert_eq!(answer(&scene, DEFAULT, &format!("socket {family}")), "done");
        assert_eq!(answer(&scene, STRICT, &format!("socket {family}")), "EPERM");
    }
}

#[test]
fn strict_leaves_threads_and_exec_and_no_other_process() {
    let scene = Scene::new();
    compile(&scene);
    assert_eq!(answer(&scene, STRICT, "thread"), "done");
    assert_eq!(answer(&scene, STRICT, "fork"), "EPERM");
    assert_eq!(answer(&scene, WITHOUT, "fork"), "done");
    assert_eq!(answer(&scene, &format!("{STRICT} busybox env"), "thread"), "done", "it runs another program");
}

#[test]
fn strict_leaves_signals_to_itself_alone() {
    let scene = Scene::new();
    compile(&scene);
    let other = format!("kill {}", std::process::id());
    assert_eq!(answer(&scene, WITHOUT, &other), "done", "it works without the guard");
    assert_eq!(answer(&scene, STRICT, &other), "EPERM");
    assert_eq!(answer(&scene, STRICT, "kill"), "done");
    assert_eq!(answer(&scene, STRICT, "raise"), "done");
    assert_eq!(answer(&scene, WITHOUT, "ptrace"), "done");
    assert_eq!(answer(&scene, STRICT, "ptrace"), "EPERM");
    assert_eq!(answer(&scene, STRICT, "inject"), "EPERM");
}

#[test]
fn ordinary_programs_run_under_the_default() {
    let scene = Scene::new();
    let script = "set -e; bash -c 'ls / | wc -l' >list; test -s list; (sleep 0.01 & wait); sort -R list >sorted; \
                  sqlite3 data 'create table t(a); insert into t values (42); select a from t'";
    scene
        .tool("priv-drop")
        .args(["--seccomp", "default", "--", "bash", "-c", script])
        .assert()
        .success()
        .stdout("42\n");
}

#[test]
fn it_works_as_an_ordinary_user_without_any_namespace() {
    let scene = Scene::new();
    let script = "priv-drop --seccomp default -- grep -E '^(Seccomp|NoNewPrivs)' /proc/self/status";
    scene
        .script_as_user(script)
        .assert()
        .success()
        .stdout("NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n");
}

/// Runs an attack under a profile of this text.
fn under(scene: &Scene, profile: &str, attack: &str) -> String {
    fs::write(scene.path("profile.json"), profile).expect("write");
    answer(scene, "priv-drop --seccomp profile.json", attack)
}

#[test]
fn a_file_says_what_becomes_of_each_and_the_first_entry_that_fits_decides() {
    let scene = Scene::new();
    compile(&scene);
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [
        {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
            "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2}]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 1, "valueTwo": 1}]},
        {"names": ["socket", "chown32"], "action": "SCMP_ACT_ERRNO"},
        {"names": ["unshare"], "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["unshare"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}
    ]}"#;
    for (attack, expected) in [
        ("socket 2", "EACCES"),
        ("socket 1", "done"),
        ("socket 10", "EPERM"),
        ("unshare", "signal 31"),
        ("clone3", "ENOSYS"),
        ("keyctl", "done"),
    ] {
        assert_eq!(under(&scene, profile, attack), expected, "{attack}");
    }
}

#[test]
fn a_file_may_have_entries_for_some_capabilities_machines_and_kernels() {
    let scene = Scene::new();
    compile(&scene);
    let refuses = |condition: &str| {
        let profile = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", {condition}}}]}}"#
        );
        match under(&scene, &profile, "keyctl").as_str() {
            "EPERM" => true,
            "done" => false,
            other => panic!("{other}"),
        }
    };
    assert!(refuses(r#""includes": {}, "excludes": {}"#));
    assert!(!refuses(r#""includes": {"caps": ["CAP_SYS_ADMIN"]}"#));
    assert!(refuses(r#""excludes": {"caps": ["CAP_SYS_ADMIN"]}"#));
    assert!(!refuses(r#""includes": {"arches": ["s390x"]}"#));
    assert!(refuses(r#""excludes": {"arches": ["s390x"]}"#));
    assert!(refuses(r#""includes": {"minKernel": "4.8"}"#));
    assert!(!refuses(r#""includes": {"minKernel": "99.0"}"#));
    assert!(!refuses(r#""excludes": {"minKernel": "4.8"}"#));
}

#[test]
fn what_a_profile_refuses_is_in_the_kernels_log() {
    let scene = Scene::new();
    compile(&scene);
    let records = |tool: &str| {
        let marked = "echo CHAINBOX >/dev/kmsg && dmesg | wc -l";
        let before = scene.script(marked).output().expect("dmesg");
        if !before.status.success() {
            skip("the kernel's log cannot be read");
            return None;
        }
        assert_eq!(answer(&scene, tool, "unshare"), "EPERM");
        let mut log =
            scene.script("dmesg | sed '1,/CHAINBOX/d' | tac | sed '/CHAINBOX/q' | grep -c type=1326.*attack");
        let log = log.output().expect("dmesg");
        String::from_utf8_lossy(&log.stdout).trim().parse::<u32>().ok()
    };
    let Some(before) = records(DEFAULT) else { return };
    assert_eq!(before, 0);
    assert_eq!(records(&format!("{DEFAULT} --seccomp-log")), Some(1));
}
