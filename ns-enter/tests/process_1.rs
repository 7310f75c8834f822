//! `--init`, `--timeout`, and how deep pid namespaces go.

use chain_testing::{Running, Scene};

#[test]
fn init_reaps_orphans_and_ends_with_the_commands_status() {
    let scene = Scene::new();
    let script = "echo $$; (true &) ; (true &); while grep -q '(true) Z' /proc/[0-9]*/stat 2>/dev/null; do :; done; exit 9";
    let run = scene.tool("ns-enter").args(["--init", "pid,mnt", "--", "bash", "-c", script]).assert();
    run.code(9).stdout("2\n").stderr("");
    for (script, status) in [("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 0", 0)] {
        scene
            .tool("ns-enter")
            .args(["--init", "pid", "--", "sh", "-c", script])
            .assert()
            .code(status)
            .stderr("");
    }
    scene
        .tool("ns-enter")
        .args(["--init", "pid", "--", "no-such-command"])
        .assert()
        .code(127)
        .stderr("ns-enter: run no-such-command: No such file or directory\n");
}

#[test]
fn init_kills_what_the_command_leaves() {
    let scene = Scene::new();
    scene
        .tool("ns-enter")
        .args(["--init", "pid", "--", "sh", "-c", "sleep 1000 & echo left"])
        .assert()
        .success()
        .stdout("left\n");
}

#[test]
fn init_tells_nothing_of_the_callers_command_line() {
    let scene = Scene::new();
    let look = "tr '\\0' '@' </proc/1/cmdline; echo; cat /proc/1/comm";
    let whole =
        scene.tool("ns-enter").args(["--init", "pid,mnt,uts=secret", "--", "sh", "-c", look]).assert();
    whole.success().stdout("ns-enter: init@\nns-enter\n");
}

#[test]
fn init_needs_a_new_pid_namespace() {
    let scene = Scene::new();
    let run =
        scene.tool("ns-enter").args(["--init", "uts", "--", "echo", "ran"]).assert().code(125).stdout("");
    run.stderr("ns-enter: --init: there is no new pid namespace; add pid\n");
}

#[test]
fn the_time_over_ends_the_whole_namespace_with_status_124() {
    let scene = Scene::new();
    for options in [
        &["--timeout", "100ms", "pid"][..],
        &["--timeout", "100ms", "uts"],
        &["--init", "--timeout", "0.1", "pid"],
    ] {
        for script in ["exec sleep 1000", "trap '' TERM; sleep 1000 & wait; sleep 1000"] {
            // What uts alone leaves running is not ours to end.
            if options.contains(&"uts") && script.contains('&') {
                continue;
            }
            let mut tool = scene.tool("ns-enter");
            tool.args(["--kill-after", "100ms"]).args(options).args(["--", "bash", "-c", script]);
            tool.assert().code(124).stdout("").stderr("");
        }
    }
    for timeout in ["1m", "0"] {
        let mut tool = scene.tool("ns-enter");
        tool.args(["--timeout", timeout, "pid", "--", "sh", "-c", "exit 3"]).assert().code(3);
    }
}

#[test]
fn the_time_over_gives_the_command_a_chance() {
    let scene = Scene::new();
    let script = "trap 'echo bye; exit 0' TERM; sleep 1000 & wait";
    let run = scene
        .tool("ns-enter")
        .args(["--timeout", "300ms", "--kill-after", "1m", "pid", "--", "bash", "-c", script])
        .assert();
    run.code(124).stdout("bye\n");
}

#[test]
fn clocks_are_set_in_a_new_time_namespace() {
    let scene = Scene::new();
    let script = "read up _ </proc/uptime; ns-enter time=+10d -- bash -c 'read in _ </proc/uptime; echo $(( (${in%.*} - $1) / 86400 ))' bash ${up%.*}; \
                  ns-enter time=+1h:-1s -- cat /proc/self/timens_offsets | tr -s ' '";
    scene.script(script).assert().success().stdout("10\nmonotonic 3600 0\nboottime -1 0\n");
    let run =
        scene.tool("ns-enter").args(["time=-90000h", "--", "echo", "ran"]).assert().code(125).stdout("");
    run.stderr("ns-enter: set the clocks by -3750d: Numerical result out of range; a clock would be before boot, or too far after it\n");
}

#[test]
fn all_is_every_kind_that_the_kernel_has() {
    let scene = Scene::new();
    let script = "for kind in user uts ipc net cgroup time pid mnt; do \
                  [ $(readlink /proc/self/ns/$kind) = $(ns-enter all -- readlink /proc/self/ns/$kind) ] && echo same $kind; done; true";
    scene.script(script).assert().success().stdout("");
}

#[test]
fn pid_namespaces_go_32_deep_and_the_next_is_refused_with_the_reason() {
    let scene = Scene::new();
    let script = "nest() { [ $1 = 0 ] && exec echo deep; ns-enter pid -- bash -c \"$(declare -f nest); nest $(($1 - 1))\"; }; nest $0";
    let nest = |depth: &str| {
        scene.tool("ns-enter").args(["uts", "--", "bash", "-c", script, depth]).output().expect("runs")
    };
    // This machine's own may be in others already.
    let mut depth = 33;
    let mut output = nest(&depth.to_string());
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(
            "No space left on device; there are 32 pid namespaces in each other, the most there can be"
        ),
        "{said}"
    );
    while output.status.code() == Some(125) && depth > 0 {
        depth -= 1;
        output = nest(&depth.to_string());
    }
    assert!((28..=32).contains(&depth) && output.stdout == b"deep\n", "{depth}");
}

#[test]
fn what_is_stopped_does_not_outlive_its_time() {
    let scene = Scene::new();
    for words in [&["pid,mnt"][..], &["uts"], &["--init", "pid,mnt"]] {
        let mut tool = scene.command("ns-enter");
        tool.args(["--timeout", "500ms"]).args(words).args([
            "--",
            "bash",
            "-c",
            "echo ready; kill -TSTP $$; sleep 1000",
        ]);
        let (_, status) = Running::start(tool).end();
        assert_eq!(status.code(), Some(124), "{words:?}");
    }
}

#[test]
fn the_pipe_to_the_supervisor_is_out_of_reach_in_a_users_box() {
    let scene = Scene::new();
    let run =
        scene.script_as_user("ns-enter --init user,pid,mnt -- ls /proc/1/fd").assert().code(2).stdout("");
    run.stderr("ls: cannot open directory '/proc/1/fd': Permission denied\n");
}

#[test]
fn what_root_in_a_box_says_to_the_supervisor_is_not_kept() {
    let scene = Scene::new();
    // More than the group's memory.
    let script = "for fd in /proc/1/fd/[3-9]; do grep -q 1$ <(grep flags: /proc/1/fdinfo/${fd##*/}) && \
                  { echo -n f; tr '\\0' x </dev/zero | head -c 100M; } 2>/dev/null >$fd; done; exit 0";
    let words = ["mem=64M", "--", "ns-enter", "--init", "pid,mnt", "--", "bash", "-c", script];
    let run = scene.tool("cg-set").args(words).assert();
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(!said.contains("killed"), "{said}");
}

#[test]
fn the_limit_on_each_kind_is_named() {
    let scene = Scene::new();
    for kind in ["time", "cgroup", "uts"] {
        let script =
            format!("echo 0 >/proc/sys/user/max_{kind}_namespaces; exec ns-enter {kind} -- echo ran");
        let run = scene.tool("ns-enter").args(["user,pid,mnt", "--", "sh", "-c", &script]).assert().code(125);
        run.stderr(format!(
            "ns-enter: new {kind} namespace: No space left on device; \
             this machine forbids it: /proc/sys/user/max_{kind}_namespaces is 0\n"
        ));
    }
}
