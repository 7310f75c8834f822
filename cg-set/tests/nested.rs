//! cg-set in cg-set: a command that is held to limits sets some of its own.

use chain_testing::{Scene, on_v2, skip};

use common::NAME;

mod common;

/// Says the limit that it is held to.
const SAY: &str = "bash -c 'cat $(group pids)/pids.max'";

#[test]
fn a_command_in_a_pid_namespace_of_its_own_is_held_to_both() {
    let scene = Scene::new();
    for (words, limit) in [
        ("cg-set mem=64M -- ns-enter pid -- cg-set pids=20", "20\n"),
        ("cg-set mem=64M -- ns-enter --init pid,mnt -- cg-set pids=20", "20\n"),
        ("cg-set mem=64M -- ns-enter pid -- cg-set pids=20 -- ns-enter pid,mnt -- cg-set pids=10", "10\n"),
        ("cg-set mem=64M -- ns-enter pid -- ns-enter pid -- cg-set pids=20", "20\n"),
    ] {
        scene.script(&format!("{words} -- {SAY}")).assert().success().stdout(limit).stderr("");
    }
}

#[test]
fn what_runs_beside_in_a_pid_namespace_of_its_own_is_held_too() {
    let scene = Scene::new();
    let script = "cg-set mem=64M -- ns-enter --init pid -- sh -c 'for i in 1 2 3; do cg-set pids=20 -- echo ran & done; wait'";
    scene.script(script).assert().success().stdout("ran\n".repeat(3)).stderr("");
}

#[test]
fn in_a_named_group_too_and_again() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=64M; for i in 1 2; do cg-set --name {NAME} -- ns-enter pid -- cg-set pids=20 -- {SAY}; done; \
         cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("20\n20\n").stderr("");
}

#[test]
fn where_nobody_outside_makes_room_it_is_said_what_to_do() {
    if !on_v2() {
        return skip("on cgroup v1 nothing is in the way");
    }
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} pids=50; bash -c 'echo $$ >/sys/fs/cgroup/{NAME}/cgroup.procs; \
             ns-enter pid -- cg-set pids=20 -- echo ran; echo $?; ls -d /sys/fs/cgroup/{NAME}/*/ 2>&-'; \
         cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stdout("125\n");
    run.stderr(format!(
        "cg-set: make room in the group /sys/fs/cgroup/{NAME}: it has processes of another pid namespace, and no \
         cg-set outside moves them; start what is outside with cg-set too\n"
    ));
}
