//! `mem=`: memory and swap together.

use chain_testing::Scene;

use common::NAME;

mod common;

/// Shows the limit of the group $own for memory, and that for memory and swap together.
const LIMITS: &str = "if [ -e $own/memory.max ]; then \
        read max < $own/memory.max; read swap < $own/memory.swap.max; [ $max = max ] || swap=$((max + swap)); \
        echo $max $swap; \
    else \
        read max < $own/memory.limit_in_bytes; read both < $own/memory.memsw.limit_in_bytes; \
        none=9223372036854771712; echo ${max/$none/max} ${both/$none/max}; \
    fi";

#[test]
fn a_command_that_passes_it_is_killed_and_that_is_said() {
    let scene = Scene::new();
    let run = scene.script("cg-set mem=4M -- tail /dev/zero 2>&1; echo $?").assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let (line, status) = output.split_once('\n').expect("two lines");
    assert_eq!(status, "137\n");
    let pid = line.strip_prefix("cg-set: mem=4M: tail (pid ").expect("who was killed");
    assert!(pid.ends_with(") was killed for passing it; raise mem="), "{line}");
}

#[test]
fn the_one_that_was_killed_is_named_and_the_command_may_live() {
    let scene = Scene::new();
    let run = scene
        .script("cg-set mem=4M -- bash -c 'tail /dev/zero & wait $!; echo $?'")
        .assert()
        .success()
        .stdout("137\n");
    let output = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(
        output.contains("mem=4M: tail (pid ") && output.contains(" was killed for passing it"),
        "{output}"
    );
}

/// The kernel explains ten kills in five seconds and leaves the rest at one message each.
#[test]
fn one_of_many_kills_in_a_row_is_named_all_the_same() {
    let scene = Scene::new();
    let run = scene
        .script("for run in {1..15}; do cg-set mem=4M -- bash -c 'tail /dev/zero & wait' 2>&1 | grep ^cg-set; done")
        .assert()
        .success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let named = output.lines().filter(|line| line.contains("mem=4M: tail (pid ")).count();
    assert_eq!(named, 15, "{output}");
}

#[test]
fn a_shell_that_buffers_a_line_without_end_is_killed() {
    let scene = Scene::new();
    // The shell around it is nearly as large, and would be next if the kernel wants more before it has got
    // back the memory of the first; so all that is to end offers itself.
    let script = "(echo 1000 >/proc/self/oom_score_adj; dd if=/dev/zero 2>/dev/null | tr '\\0' x | read line; \
                  exit ${PIPESTATUS[2]}); echo $?";
    let run =
        scene.tool("cg-set").args(["mem=8M", "--", "bash", "-c", script]).assert().success().stdout("137\n");
    assert!(String::from_utf8_lossy(&run.get_output().stderr).contains("mem=8M: bash (pid "));
}

#[test]
fn one_that_is_killed_takes_all_others_along_if_that_is_asked_for() {
    let scene = Scene::new();
    // Without it the command goes on.
    let script = "(echo 1000 >/proc/self/oom_score_adj; exec tail /dev/zero); echo went on; $0 1000";
    let limited = |group: &str, last: &str| {
        format!("cg-set mem=16M oom.group={group} -- bash -c '{script}' {last} 2>/dev/null; echo $?")
    };
    scene.script(&limited("0", "true")).assert().success().stdout("went on\n0\n");
    let run = scene.script(&limited("1", "sleep")).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(said.ends_with("137\n"), "{said}");
}

#[test]
fn within_it_nothing_is_said() {
    let scene = Scene::new();
    scene
        .script("cg-set mem=64M -- bash -c 'head -c 16M /dev/zero | tail -c 16M | wc -c'")
        .assert()
        .success()
        .stdout("16777216\n")
        .stderr("");
}

#[test]
fn the_kernel_has_the_limit_for_memory_and_for_both_together() {
    let scene = Scene::new();
    let read = format!("own=$(group memory); {LIMITS}");
    let run = scene.script(&format!("cg-set mem=4M -- bash -c {}", quoted(&read))).assert();
    run.success().stdout("4194304 4194304\n");
}

#[test]
fn it_can_be_raised_and_lowered_on_a_group_that_stays() {
    let scene = Scene::new();
    let script = format!(
        "set -e; own=$(group memory)/chainbox-test; for mem in 8M 4M 64M 2M max; do cg-set --name chainbox-test mem=$mem; {LIMITS}; done; \
         cg-set --name chainbox-test --remove"
    );
    let mib = |number: u64| format!("{0} {0}\n", number << 20);
    let none = "max max\n";
    scene.script(&script).assert().success().stdout([8, 4, 64, 2].map(mib).concat() + none);
}

fn quoted(script: &str) -> String {
    format!("'{}'", script.replace('\'', "'\\''"))
}

#[test]
fn a_part_that_comes_to_less_than_a_page_is_refused() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=1M; cg-set --name {NAME}/in mem=0.1%; echo $?; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stdout("125\n");
    run.stderr(
        "cg-set: mem=0.1%: 1048 bytes: less than a page of memory, which no command runs in; take a larger part\n",
    );
}
