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
fn changes_that_come_at_once_are_each_made_whole() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; change() {{ for round in {{1..15}}; do cg-set --name {NAME} mem=$1 swap=$1 || echo refused; done; }}; \
         for size in 4M 8M 12M 16M 24M 48M 64M 96M; do change $size & done; wait; \
         shown {NAME} | sed s/.*=// | uniq | wc -l; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("1\n").stderr("");
}

#[test]
fn an_idle_group_has_no_weight_and_nobody_is_left_to_think_so() {
    let scene = Scene::new();
    let run = scene.tool("cg-set").args(["cpu.weight=200", "cpu.idle=1", "--", "echo", "ran"]).assert();
    run.code(125).stdout("").stderr(
        "cg-set: cpu.weight=200: an idle group has no weight; give it when the group is to be idle no more, \
         with cpu.idle=0\n",
    );
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} cpu.weight=200; cg-set --name {NAME} cpu.idle=1 -- no-such-command 2>&-; \
         shown {NAME}; cg-set --name {NAME} cpu.idle=1; shown {NAME}; cg-set --name {NAME} cpu.weight=70 2>&-; echo $?; \
         cg-set --name {NAME} cpu.idle=0 cpu.weight=70; shown {NAME}; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    run.stdout("cpu.weight=200\ncpu.idle=1\n125\ncpu.weight=70\n").stderr(
        "cg-set: cpu.idle=1: the kernel has forgotten cpu.weight=200; give it again with cpu.idle=0\n",
    );
}

#[test]
fn a_period_needs_a_limit() {
    let scene = Scene::new();
    let run =
        scene.tool("cg-set").args(["cpu.period=10ms", "--", "echo", "ran"]).assert().code(125).stdout("");
    run.stderr("cg-set: cpu.period=10ms: a period without a limit; add cpu=\n");
}

#[test]
fn what_the_kernel_sets_together_is_kept_where_only_one_is_given() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} mem=100M swap=20M cpu=0.5 cpu.period=10ms cpu.burst=1ms; \
         cg-set --name {NAME} mem=50M; cg-set --name {NAME} cpu=1; cg-set --name {NAME} cpu.period=20ms; \
         cg-set --name {NAME} swap=10M; cg-set --name {NAME} cpu.burst=2ms; shown {NAME}; \
         cg-set --name {NAME} mem=max cpu=max; shown {NAME}; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stderr("");
    run.stdout("mem=50M\nswap=10M\ncpu=1\ncpu.period=20ms\ncpu.burst=2ms\ncpu.period=20ms\ncpu.burst=2ms\n");
}

#[test]
fn swap_alone_is_refused_where_it_would_limit_nothing() {
    if on_v2() {
        return skip("cgroup v2 limits swap alone");
    }
    let scene = Scene::new();
    for words in ["swap=5M", "mem=max swap=5M", "--name chainbox-test swap=5M"] {
        let run = scene.script(&format!("cg-set {words} -- echo ran")).assert().code(125).stdout("");
        run.stderr(
            "cg-set: swap=5M: cgroup v1 limits swap together with memory, and that is not limited; add mem=\n",
        );
    }
}

#[test]
fn a_part_of_a_group_in_a_group_is_one_of_the_limit_of_that() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} pids=20; cg-set --name {NAME}/in pids=50%; shown {NAME}/in; \
         cg-set --parent {NAME} pids=50% -- bash -c 'cat $(group pids)/pids.max'; \
         cg-set --name {NAME}/in --remove; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("pids=10\n10\n").stderr("");
}

#[test]
fn nothing_is_killed_to_lower_a_limit() {
    let scene = Scene::new();
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} mem=100M; mkfifo ready; \
         cg-set --name {NAME} -- perl -e '$held = \"x\" x (40 << 20); open(my $ready, \">\", \"ready\"); close($ready); sleep 1000' & \
         holder=$!; : <ready; cg-set --name {NAME} mem=5M && echo lowered; kill -0 $holder && echo lives; shown {NAME} | head -n 1; \
         cg-set --name {NAME} --remove --kill; wait 2>/dev/null"
    );
    let run = scene.script(&script).assert().success().stdout("lives\nmem=100M\n");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let why = "Device or resource busy; the group uses more than that now, and it cannot be freed\n";
    assert!(said.starts_with("cg-set: mem=5M: write 5242880 to ") && said.contains(why), "{said}");
}

#[test]
fn what_the_kernel_frees_is_no_reason_against_a_lower_limit() {
    let scene = Scene::new();
    // A file that is in memory because it was written is freed once it is on a disk. Where that is itself a file in memory,
    // half of what is used cannot be freed.
    let script = format!(
        "{SHOWN}; truncate -s 64M disk; mkfs.ext4 -q disk; mkdir here; mount -o loop disk here; trap 'umount here' EXIT; \
         cg-set --name {NAME} mem=100M -- sh -c 'head -c 30M /dev/zero >here/file; sync here/file'; \
         cg-set --name {NAME} mem=40M; shown {NAME}; cg-set --name {NAME} --remove"
    );
    scene.script(&script).assert().success().stdout("mem=40M\n").stderr("");
}

#[test]
fn no_process_is_moved_or_killed_by_a_file_that_is_no_limit() {
    let scene = Scene::new();
    let script = "sleep 1000 & other=$!; before=$(cat /proc/$other/cgroup); \
                  for word in cgroup.procs=$other cgroup.threads=$other; do cg-set $word -- echo ran; done; \
                  [ \"$before\" = \"$(cat /proc/$other/cgroup)\" ] && kill $other && echo unharmed";
    scene.script(script).assert().success().stdout("unharmed\n");
}

#[test]
fn processors_and_nodes_that_are_not_there_are_refused_before_anything_is_made() {
    let scene = Scene::new();
    let run = scene.script("cg-set cpus=0,4000 -- echo ran").assert().code(125).stdout("");
    let error = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(
        error.starts_with("cg-set: cpus=0,4000: 4000: the machine, or the group above, has 0"),
        "{error}"
    );
    let run = scene.script("cg-set mems=0-1000 -- echo ran").assert().code(125).stdout("");
    let error = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(error.contains(": the machine, or the group above, has 0"), "{error}");
}

#[test]
fn a_dry_run_says_what_a_part_is() {
    let scene = Scene::new();
    let run = scene.script("cg-set -n mem=25% pids=50% -- true").assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(
        said.contains("set mem=25%, which is mem=") && said.contains("set pids=50%, which is pids="),
        "{said}"
    );
}
