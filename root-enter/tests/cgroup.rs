//! The command's own cgroups in the new root.

use chain_testing::{Scene, on_v2};

/// Runs a script for sh behind a new root that shows the cgroups, held to limits.
fn inside(script: &str) -> String {
    inside_with("--cgroup", script)
}

fn inside_with(options: &str, script: &str) -> String {
    let scene = Scene::new();
    scene.rootfs("root");
    let words = ["mem=64M", "pids=20", "--", "root-enter"].into_iter().chain(options.split(' '));
    let words = words.chain(["root", "--", "sh", "-c", script]);
    let run = scene.tool("cg-set").args(words).assert().success();
    String::from_utf8_lossy(&run.get_output().stdout).into_owned()
}

#[test]
fn the_own_limits_are_where_programs_look_for_them() {
    let limit = if on_v2() { "memory.max" } else { "memory/memory.limit_in_bytes" };
    let pids = if on_v2() { "pids.max" } else { "pids/pids.max" };
    assert_eq!(inside(&format!("cd /sys/fs/cgroup; cat {limit} {pids}")), "67108864\n20\n");
}

#[test]
fn they_are_also_where_they_were_asked_for_and_beside_the_rest_of_sys() {
    let limit = if on_v2() { "memory.max" } else { "memory/memory.limit_in_bytes" };
    let look = format!("cd /my/groups; cat {limit}; busybox mkdir x 2>&1; ls /sys 2>/dev/null; true");
    let refused = "mkdir: can't create directory 'x': Read-only file system\n";
    assert_eq!(inside_with("--cgroup=/my/groups", &look), format!("67108864\n{refused}"));
    let look = format!("cat /sys/fs/cgroup/{limit}; echo here > /sys/other && cat /sys/other");
    let options = "--tmpfs /sys --dir /sys/fs/cgroup --cgroup";
    assert_eq!(inside_with(options, &look), "67108864\nhere\n");
}

#[test]
fn groups_above_and_beside_are_not_seen() {
    let looked = "cd /sys/fs/cgroup; busybox find . -name 'cg-set.*'; busybox cut -d: -f3 /proc/self/cgroup | busybox sort -u; \
                  busybox find . -name cgroup.procs | busybox wc -l; echo *";
    let shown = inside(looked);
    let (paths, rest) = shown.split_once('\n').expect("lines");
    assert_eq!(paths, "/", "{shown}");
    let (count, trees) = rest.trim_end().split_once('\n').expect("two lines");
    assert!(on_v2() && count == "1" || !on_v2() && trees == "memory pids" && count == "2", "{shown}");
}

#[test]
fn nothing_of_it_can_be_written() {
    let script = "cd /sys/fs/cgroup; for file in $(busybox find . -type f); do \
                      { echo 1 > $file; } 2>/dev/null && echo $file; \
                  done; busybox find . -name release_agent; busybox mkdir x 2>&1; busybox mkdir /sys/x 2>&1; true";
    let shown = inside(script);
    assert_eq!(shown.lines().count(), 2, "{shown}");
    assert!(shown.lines().all(|line| line.ends_with("Read-only file system")), "{shown}");
}

#[test]
fn without_a_group_of_its_own_no_others_are_shown() {
    let scene = Scene::new();
    scene.rootfs("root");
    let script = "exec busybox find /sys/fs/cgroup -name release_agent";
    scene
        .tool("root-enter")
        .args(["--cgroup", "root", "--", "sh", "-c", script])
        .assert()
        .success()
        .stdout("");
}
