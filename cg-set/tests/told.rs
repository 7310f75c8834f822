//! What is told of a command afterwards, and of a group while it is there.

use chain_testing::{Scene, on_v2, skip};
use serde_json::Value;

use common::{NAME, report};

mod common;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn the_fields_of_a_report_are_those_of_the_manual() {
    let scene = Scene::new();
    let report = report(&scene, &["mem=64M", "--", "true"]);
    let fields: Vec<_> = report.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut expected = vec![
        "command",
        "exit",
        "signal",
        "timed_out",
        "wall_usec",
        "cpu_user_usec",
        "cpu_system_usec",
        "throttled_usec",
        "memory_peak_bytes",
        "pids_peak",
        "io_read_bytes",
        "io_written_bytes",
        "oom_kills",
        "hits",
        "pressure_usec",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    let manual = include_str!("../../man/cg-set.1");
    for field in expected {
        assert!(manual.contains(&format!(".It Cm {field}")), "{field} is not in the manual");
    }
}

#[test]
fn a_killed_command_has_its_signal_its_kill_and_no_more_than_its_memory() {
    let scene = Scene::new();
    let report = report(&scene, &["mem=4M", "--", "tail", "/dev/zero"]);
    assert_eq!((&report["command"], &report["exit"]), (&"tail".into(), &Value::Null));
    assert_eq!(report["signal"], "SIGKILL");
    assert_eq!(report["oom_kills"], 1);
    assert!(number(&report["hits"]["mem"]) > 0);
    // It began to use it at all.
    assert!((1 << 20..=4 << 20).contains(&number(&report["memory_peak_bytes"])), "{report}");
}

#[test]
fn processor_time_and_how_long_it_was_held_back_are_counted() {
    let scene = Scene::new();
    // It ends by its own account of time, whatever the machine does besides.
    let spin = "while read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user _ < /proc/self/stat; [ $user -lt 10 ]; do :; done; exit 3";
    // So little that a busy machine has it too.
    let report = report(&scene, &["cpu=0.1", "--", "bash", "-c", spin]);
    assert_eq!(report["exit"], 3);
    let (user, system) = (number(&report["cpu_user_usec"]), number(&report["cpu_system_usec"]));
    assert!(user + system >= 100_000, "{report}");
    assert!(number(&report["wall_usec"]) >= 10 * (user + system) - 200_000, "{report}");
    assert!(number(&report["throttled_usec"]) > 0 && number(&report["hits"]["cpu"]) > 0, "{report}");
}

#[test]
fn a_limit_is_not_needed_for_a_report() {
    let scene = Scene::new();
    let script = "sleep 1000 & sleep 1000 & kill $!; wait $!; exit 7";
    let report = report(&scene, &["--", "bash", "-c", script]);
    assert_eq!((&report["exit"], &report["oom_kills"]), (&7.into(), &0.into()));
    assert!(report["pids_peak"].is_null() || number(&report["pids_peak"]) == 3, "{report}");
}

#[test]
fn the_counters_of_a_command_in_a_named_group_are_its_own() {
    let scene = Scene::new();
    let fork = "while (exec sleep 1000) & do :; done";
    let script =
        format!("cg-set --name {NAME} pids=3 mem=64M -- busybox sh -c '{fork}' >/dev/null 2>&1; true");
    scene.script(&script).assert().success();
    let report = report(&scene, &["--name", NAME, "--", "true"]);
    scene.tool("cg-set").args(["--name", NAME, "--remove", "--kill"]).assert().success();
    assert_eq!((&report["hits"]["pids"], &report["exit"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn people_get_the_same_on_stderr() {
    let scene = Scene::new();
    let run = scene.tool("cg-set").args(["--stat", "mem=4M", "--", "tail", "/dev/zero"]).assert().stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    let firsts: Vec<_> = said.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(firsts[..3], ["command", "wall", "cpu"], "{said}");
    assert!(said.contains("tail: SIGKILL\n") && said.contains("\nmemory    4M at most\n"), "{said}");
    assert!(said.contains("1 killed because it ran out\n"), "{said}");
}

#[test]
fn forks_that_were_refused_are_said_with_whose_limit_it_was() {
    let scene = Scene::new();
    let fork = "i=0; while (exec sleep 1000) & do :; done";
    let shell = format!("busybox sh -c '{fork}' 2>/dev/null; true");
    let said = |words: &[&str]| {
        let run = scene.tool("cg-set").args(words).args(["--", "sh", "-c", &shell]).assert();
        String::from_utf8_lossy(&run.get_output().stderr).into_owned()
    };
    assert_eq!(said(&["pids=5"]), "cg-set: pids=5: fork was refused once for passing it; raise pids=\n");
    let nested = said(&["pids=5", "--", "cg-set", "pids=50"]);
    let of_above =
        nested.lines().find(|line| line.starts_with("cg-set: pids=5 of /sys/fs/cgroup/")).expect("a line");
    assert!(of_above.ends_with(": fork was refused once for passing it; raise it there"), "{nested}");
}

#[test]
fn a_limit_of_a_group_above_that_has_none_of_its_own_is_named_too() {
    let scene = Scene::new();
    let fork = "i=0; while (exec sleep 1000) & do :; done";
    let script = format!(
        "cg-set --name {NAME} pids=5; cg-set --name {NAME}/in cpu=0.5; \
         cg-set --name {NAME}/in -- busybox sh -c '{fork}' 2>said; grep ^cg-set said; \
         cg-set --name {NAME}/in --remove --kill; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(
        said.starts_with("cg-set: pids=5 of /sys/fs/cgroup/") && said.contains("/chainbox-test: fork was"),
        "{said}"
    );
}

#[test]
fn what_slows_down_for_memory_is_said() {
    if !on_v2() {
        return skip("cgroup v1 has no mem.high");
    }
    let scene = Scene::new();
    // A file in memory, which nothing can be freed of without swap.
    let fill = "mount -t tmpfs none . && head -c 6M /dev/zero >full";
    let script = format!("mkdir here; cd here; cg-set mem.high=4M -- unshare -m sh -c '{fill}'");
    let run = scene.script(&script).assert().success();
    run.stderr("cg-set: mem.high=4M: processes were slowed down for passing it; raise mem.high=\n");
}

#[test]
fn the_callers_own_group_is_not_mixed_with_the_whole_machine() {
    let scene = Scene::new();
    let run = scene.script("cg-set mem=64M pids=9 -- cg-set --list --json").assert().success();
    let list: Value = serde_json::from_slice(&run.get_output().stdout).expect("JSON");
    assert_eq!((&list[0]["group"], &list[0]["processes"]), (&".".into(), &1.into()), "{list}");
}

#[test]
fn a_list_that_nobody_reads_ends_as_any_other_program() {
    let scene = Scene::new();
    let script = "mkfifo pipe; exec 3<>pipe 4>pipe 5<pipe 3>&- 5<&-; cg-set --list >&4; echo $?; \
                  trap '' PIPE; cg-set --list >&4; echo $?";
    let run = scene.script(script).assert().success().stdout("141\n125\n");
    run.stderr("cg-set: write to stdout: Broken pipe\n");
}

#[test]
fn a_report_that_cannot_be_written_is_an_error_before_anything_runs() {
    let scene = Scene::new();
    for file in ["no/such/file", "."] {
        let run =
            scene.tool("cg-set").args(["--report", file, "pids=5", "--", "echo", "ran"]).assert().code(125);
        let run = run.stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.starts_with(&format!("cg-set: --report {file}: ")), "{said}");
    }
    scene.tool("cg-set").args(["-n", "--report", "report", "--", "true"]).assert().success();
    assert!(!scene.path("report").exists());
}

#[test]
fn a_report_is_written_though_nobody_can_be_told_on_stderr() {
    let scene = Scene::new();
    let script = "cg-set --stat --report report -- true 2>/dev/full; grep -c wall_usec report";
    scene.script(script).assert().success().stdout("1\n");
}

#[test]
fn a_report_does_not_go_where_a_link_leads() {
    let scene = Scene::new();
    scene.tree(".", &[("other", "text\n")]);
    std::os::unix::fs::symlink("other", scene.path("report")).expect("symlink");
    let run =
        scene.tool("cg-set").args(["--report", "report", "pids=5", "--", "echo", "ran"]).assert().code(125);
    run.stdout("").stderr(
        "cg-set: --report report: Too many levels of symbolic links; it is a link, which is not followed; \
         name the file itself\n",
    );
    assert_eq!(std::fs::read_to_string(scene.path("other")).expect("read"), "text\n");
}

#[test]
fn a_report_of_before_does_not_outlive_a_launch_that_fails() {
    let scene = Scene::new();
    scene.tree(".", &[("report", "of before\n")]);
    scene
        .tool("cg-set")
        .args(["--report", "report", "freeze=1", "--", "echo", "ran"])
        .assert()
        .code(125)
        .stdout("");
    assert_eq!(std::fs::read_to_string(scene.path("report")).expect("read"), "");
}

#[test]
fn a_command_that_did_not_run_has_neither_status_nor_signal() {
    let scene = Scene::new();
    let report = report(&scene, &["pids=5", "--", "no-such-command"]);
    assert_eq!((&report["exit"], &report["signal"]), (&Value::Null, &Value::Null));
}

#[test]
fn a_group_is_shown_with_the_limits_above_it_that_bind() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=64M pids=20 cpu=0.5; cg-set --name {NAME}/in mem=128M pids=5; \
         cg-set --name {NAME}/in | awk '!NF {{ exit }} NR > 1 {{ print $1, $2, $NF }}' | LC_ALL=C sort; \
         cg-set --name {NAME} --remove"
    );
    let expected = "cpu 0.5 NAME\nmem 128M NAME/in\nmem 64M NAME\npids 5 NAME/in\n".replace("NAME", NAME);
    let run = scene.script(&script).assert().success();
    let shown = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    // On v1 it has no directory in cpu's tree, on v2 one for all: then it is shown without a limit of its own.
    let shown = shown.replace(&format!("cpu max {NAME}/in\n"), "");
    assert!(shown == expected || shown == expected.replace(&format!("cpu 0.5 {NAME}\n"), ""), "{shown}");
}

#[test]
fn what_is_left_of_a_list_or_an_amount_by_a_group_above_is_shown() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=64M swap=8M cpus=0; cg-set --name {NAME}/in pids=5 mem=8M; \
         cg-set --name {NAME}/in | awk '$1 == \"cpus\" || $1 == \"swap\" {{ print $1, $2, $NF }}'; \
         cg-set --name {NAME}/in swap=9M; cg-set --name {NAME}/in | awk '$1 == \"swap\" {{ print $1, $2, $NF }}'; \
         cg-set --name {NAME} --remove"
    );
    // On v1 each group has a list of its own.
    let whose = if on_v2() { NAME.to_owned() } else { format!("{NAME}/in") };
    let expected = format!("cpus 0 {whose}\nswap 9M {NAME}/in\nswap 8M {NAME}\n");
    scene.script(&script).assert().success().stdout(expected).stderr("");
}

#[test]
fn a_group_as_json_has_its_limits_its_use_and_its_processes() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} mem=64M pids=20; sleep 1000 & until [[ $(</proc/$!/comm) == sleep ]]; do :; done; cg-set --name {NAME} --pid $!; cg-set --name {NAME} --json; \
         kill $!; wait; cg-set --name {NAME} --remove; echo $! >&2"
    );
    let run = scene.script(&script).assert().success();
    let shown: Value = serde_json::from_slice(&run.get_output().stdout).expect("JSON");
    let pid: u64 = String::from_utf8_lossy(&run.get_output().stderr).trim().parse().expect("a pid");
    assert_eq!(shown["group"], NAME);
    assert_eq!(shown["limits"][0], serde_json::json!({"setting": "mem", "value": "64M", "group": NAME}));
    assert_eq!(shown["processes"], serde_json::json!([{"pid": pid, "command": "sleep"}]));
    assert_eq!(shown["pids"], 1);
}

#[test]
fn the_list_has_the_groups_below_with_what_they_use() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} pids=20; cg-set --name {NAME}/in pids=10 mem=1G; sleep 1000 & cg-set --name {NAME}/in --pid $!; \
         cg-set --list --name {NAME} --json; cg-set --list | grep -c ' {NAME}/in$' >&2; kill $!; wait; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success().stderr("1\n");
    let list: Value = serde_json::from_slice(&run.get_output().stdout).expect("JSON");
    let groups: Vec<_> = list.as_array().expect("a list").iter().map(|row| &row["group"]).collect();
    assert_eq!(groups, [&Value::from(NAME), &Value::from(format!("{NAME}/in"))]);
    let of = |at: usize, field: &str| list[at][field].clone();
    assert_eq!((of(0, "processes"), of(1, "processes")), (0.into(), 1.into()));
    assert_eq!((of(0, "pids"), of(1, "pids")), (1.into(), 1.into()));
}

#[test]
fn a_group_whose_name_is_not_utf_8_is_listed_with_what_it_has() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} pids=20; odd=$(group pids)/{NAME}/$'\\xff'; \
         {{ echo +pids >$(group pids)/{NAME}/cgroup.subtree_control; }} 2>/dev/null; mkdir $odd; sleep 1000 & echo $! >$odd/cgroup.procs; \
         cg-set --list --name {NAME} --json; kill $!; wait; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    let list: Value = serde_json::from_slice(&run.get_output().stdout).expect("JSON");
    assert_eq!((&list[1]["processes"], &list[1]["pids"]), (&1.into(), &1.into()), "{list}");
}

#[test]
fn a_group_is_watched_until_it_is_removed() {
    let scene = Scene::new();
    let script = format!(
        "cg-set --name {NAME} pids=20; timeout 20 cg-set --list --name {NAME} --watch >list & tool=$!; \
         until grep -q {NAME} list; do sleep 0.1; done; cg-set --name {NAME} --remove; wait $tool; echo $?"
    );
    scene.script(&script).assert().success().stdout("0\n").stderr("");
}

#[test]
fn what_is_watched_is_told_again_with_the_part_of_a_core_in_between() {
    let scene = Scene::new();
    // The second look ends it: who reads no more of a pipe is told so.
    let script = format!(
        "cg-set --name {NAME} pids=20 mem=1G cpu=1; (while :; do :; done) & cg-set --name {NAME} --pid $!; \
         cg-set --list --name {NAME} --watch --json 2>/dev/null | {{ read -r first; read -r second; echo \"$second\"; }}; \
         kill $!; wait $! 2>/dev/null; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    let second: Value = serde_json::from_slice(&run.get_output().stdout).expect("JSON");
    assert!(second[0]["cpu_percent"].as_f64().is_some_and(|part| part > 5.0), "{second}");
}

#[test]
fn a_group_for_one_command_can_be_made_below_a_named_one() {
    let scene = Scene::new();
    let script = format!(
        "set -e; cg-set --name {NAME} pids=20; cg-set --parent {NAME} mem=64M pids=5 -- bash -c 'group pids; group memory'; \
         cg-set --parent {NAME} --list | awk 'END {{ print NR }}'; cg-set --parent {NAME} --name in pids=3; \
         cg-set --name {NAME}/in >/dev/null; cg-set --name {NAME} --remove; \
         cg-set --parent {NAME} pids=5 -- echo ran"
    );
    let run = scene.script(&script).assert().code(125);
    let shown = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let lines: Vec<_> = shown.lines().collect();
    let [pids, memory, rows] = lines[..] else { panic!("three lines: {shown}") };
    for group in [pids, memory] {
        assert!(group.contains(&format!("/{NAME}/cg-set.")), "{shown}");
    }
    // The header and the group, which is empty again.
    assert_eq!(rows, "2");
}
