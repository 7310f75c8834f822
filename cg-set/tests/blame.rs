//! Whose limit a kill is blamed on, in groups in groups, and that it is counted. These tests are for themselves: the kernel explains only
//! 10 kills in 5 seconds (`oom_rs` in mm/oom_kill.c), and on v1 a group knows by that alone of a kill below it.

use chain_testing::Scene;

use common::report;

mod common;

/// A command that uses all memory that it gets, and offers itself to the kernel, which else may choose the
/// cg-set around it.
const TAIL: &str = "sh -c 'echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero'";

#[test]
fn an_inner_limit_does_not_take_the_blame_for_an_outer_one() {
    let scene = Scene::new();
    let run = scene.script(&format!("cg-set mem=4M -- cg-set mem=100M -- {TAIL}; true")).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let (inner, outer) = output.split_once('\n').expect("two lines");
    assert!(inner.starts_with("cg-set: mem=4M of /sys/fs/cgroup/"), "{output}");
    assert!(
        inner.contains(": tail (pid ") && inner.ends_with("was killed for passing it; raise it there"),
        "{output}"
    );
    assert!(outer.starts_with("cg-set: mem=4M: tail (pid "), "{output}");
    assert!(outer.contains("was killed for passing it; raise mem="), "{output}");
}

#[test]
fn an_outer_limit_does_not_take_the_blame_for_an_inner_one() {
    let scene = Scene::new();
    let run = scene
        .script(&format!("cg-set mem=100M -- cg-set mem=4M -- {TAIL} 2>&1 | grep ^cg-set:"))
        .assert()
        .success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(output.starts_with("cg-set: mem=4M: tail (pid ") && output.lines().count() == 1, "{output}");
}

#[test]
fn what_happens_in_groups_below_is_counted_too() {
    let scene = Scene::new();
    // One that stays until the end, and one that is gone by then.
    let tail = "-- sh -c 'echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero'";
    let fork = "-- busybox sh -c 'while (exec sleep 1000) & do :; done'";
    let script = format!(
        "cg-set --name below mem=4M {tail}; cg-set mem=4M {tail}; cg-set --name below/in pids=3 {fork}; exit 7"
    );
    let report = report(&scene, &["mem=100M", "pids=50", "--", "bash", "-c", &script]);
    assert_eq!((&report["exit"], &report["oom_kills"]), (&7.into(), &2.into()), "{report}");
    assert_eq!(report["hits"]["pids"], 1, "{report}");
}
