//! Every setting, as the kernel keeps it, on whichever version of cgroups its controller is.

use chain_testing::{Scene, on_v2, skip};

use common::{NAME, SHOWN};

mod common;

#[test]
fn what_is_set_is_what_the_group_has() {
    let scene = Scene::new();
    let both = "mem=64M swap=8M mem.low=4M cpu=0.5 cpu.period=50ms cpu.weight=200 cpu.burst=5ms cpus=0 mems=0 pids=40 freeze=1";
    let more = if on_v2() { " mem.high=60M mem.min=1M oom.group=1 cpu.idle=0" } else { "" };
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} {both}{more}; shown {NAME} | sort; cg-set --name {NAME} freeze=0; \
         cg-set --name {NAME} | grep -c freeze; cg-set --name {NAME} --remove"
    );
    let mut lines: Vec<_> = both.split(' ').chain(more.split_whitespace()).collect();
    // What every group has is not shown.
    lines.retain(|line| *line != "cpu.idle=0");
    lines.sort_unstable();
    let run = scene.script(&script).env("LC_ALL", "C").assert().success();
    run.stdout(lines.join("\n") + "\n0\n").stderr("");
}

#[test]
fn the_kernels_files_have_them() {
    let scene = Scene::new();
    let files = if on_v2() {
        "cpu/cpu.max cpu/cpu.weight cpuset/cpuset.cpus pids/pids.max"
    } else {
        "cpu/cpu.cfs_quota_us cpu/cpu.cfs_period_us cpu/cpu.shares cpuset/cpuset.cpus pids/pids.max"
    };
    let read = format!("for file in {files}; do cat $(group ${{file%/*}})/${{file#*/}}; done");
    let run = scene
        .tool("cg-set")
        .args(["cpu=150%", "cpu.period=20ms", "cpu.weight=50", "cpus=0", "pids=7", "--", "bash", "-c", &read])
        .assert()
        .success();
    run.stdout(if on_v2() { "30000 20000\n50\n0\n7\n" } else { "30000\n20000\n512\n0\n7\n" }).stderr("");
}

#[test]
fn a_part_is_one_of_the_limit_above() {
    let scene = Scene::new();
    let read =
        if on_v2() { "cat $(group memory)/memory.max" } else { "cat $(group memory)/memory.limit_in_bytes" };
    let inner = format!("cg-set mem=50% pids=10% -- bash -c '{read}; cat $(group pids)/pids.max'");
    let run = scene.tool("cg-set").args(["mem=100M", "pids=50", "--", "bash", "-c", &inner]).assert();
    run.success().stdout("52428800\n5\n");
}

#[test]
fn a_file_of_the_kernel_is_written_as_it_is() {
    let scene = Scene::new();
    let (file, value) = if on_v2() { ("memory.low", "8192") } else { ("memory.swappiness", "7") };
    let read = format!("cat $(group memory)/{file}");
    let setting = format!("{file}={value}");
    let run = scene.tool("cg-set").args([&setting, "--", "bash", "-c", &read]).assert().success();
    run.stdout(format!("{value}\n"));
    let run = scene.tool("cg-set").args(["memory.no_such_file=1", "--", "echo", "ran"]).assert().code(125);
    let said = String::from_utf8_lossy(&run.stdout("").get_output().stderr).into_owned();
    assert!(said.starts_with("cg-set: memory.no_such_file=1: write 1 to "), "{said}");
    assert!(said.ends_with("this kernel does not have it, or not for this group\n"), "{said}");
    let run = scene.tool("cg-set").args(["nonsense.file=1", "--", "echo", "ran"]).assert().code(125);
    run.stdout("").stderr(
        "cg-set: nonsense.file=1: no cgroup nonsense controller is mounted here; see /proc/cgroups for what the kernel has\n",
    );
}

#[test]
fn what_a_version_does_not_have_is_refused() {
    if on_v2() {
        return skip("cgroup v2 has all settings");
    }
    let scene = Scene::new();
    for setting in ["mem.high=1M", "mem.min=1M"] {
        let run = scene.tool("cg-set").args([setting, "--", "echo", "ran"]).assert().code(125).stdout("");
        run.stderr(format!(
            "cg-set: {setting}: cgroup v1, which has the memory controller here, has no such setting; \
             boot with systemd.unified_cgroup_hierarchy=1 to have it on v2\n"
        ));
    }
}

#[test]
fn a_command_alone_is_not_frozen_for_ever() {
    let scene = Scene::new();
    let run = scene.tool("cg-set").args(["freeze=1", "--", "echo", "ran"]).assert().code(125).stdout("");
    run.stderr(
        "cg-set: freeze=1: the command would never run, and nobody could let it go on; freeze a named group\n",
    );
}

#[test]
fn a_period_needs_a_limit() {
    let scene = Scene::new();
    let run =
        scene.tool("cg-set").args(["cpu.period=10ms", "--", "echo", "ran"]).assert().code(125).stdout("");
    run.stderr("cg-set: cpu.period=10ms: a period without a limit; add cpu=\n");
}
