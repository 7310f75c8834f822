//! The exit status: NEXT's own, or the design's when NEXT did not run. Each holds with a supervisor
//! (`pid`) and without (`uts`).

use std::{fs, os::unix::fs::PermissionsExt};

use chain_testing::Scene;

const BOTH: [&str; 2] = ["uts", "pid"];

#[test]
fn it_is_that_of_the_command() {
    let scene = Scene::new();
    for kind in BOTH {
        scene.tool("ns-enter").args([kind, "--", "bash", "-c", "exit 42"]).assert().code(42).stderr("");
    }
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let scene = Scene::new();
    for kind in BOTH {
        let run = scene.tool("ns-enter").args([kind, "--", "no-such-command"]).assert().code(127);
        run.stderr("ns-enter: run no-such-command: No such file or directory\n");
        scene.tool("ns-enter").args([kind, "--", "/no/such"]).assert().code(127);
    }
}

#[test]
fn a_command_that_cannot_be_run_is_126_and_says_why() {
    let scene = Scene::new();
    let dir = scene.tree("files", &[("script", "#!/no/such/shell\n"), ("plain", "text\n")]);
    fs::set_permissions(dir.join("script"), fs::Permissions::from_mode(0o755)).expect("chmod");
    for kind in BOTH {
        for (file, why) in [
            ("files/script", "No such file or directory (its interpreter /no/such/shell is missing)"),
            ("files/plain", "Permission denied; is it executable, and its filesystem not noexec?"),
            ("./files", "Permission denied (it is a directory)"),
        ] {
            let run = scene.tool("ns-enter").args([kind, "--", file]).assert().code(126);
            run.stderr(format!("ns-enter: run {file}: {why}\n"));
        }
    }
}

#[test]
fn a_name_longer_than_a_pipe_holds_does_not_hang() {
    let scene = Scene::new();
    for kind in BOTH {
        let name = "x".repeat(100_000);
        let run = scene.tool("ns-enter").args([kind, "--", name.as_str()]).assert().code(126);
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.starts_with("ns-enter: run xxx"), "{kind}: {}", said.len());
    }
}

#[test]
fn a_standard_descriptor_that_the_caller_closed_stays_closed() {
    let scene = Scene::new();
    for kinds in ["uts", "pid,mnt"] {
        let count = "n=0; for fd in 0 1 2; do [ ! -e /proc/self/fd/$fd ] || n=$((n + 1)); done; exit $n";
        for (closed, open) in [("<&-", 2), (">&-", 2), ("2>&-", 2), ("<&- >&- 2>&-", 0)] {
            let line = format!("ns-enter {kinds} -- bash -c '{count}' {closed}");
            scene.script(&line).assert().code(open);
        }
    }
}

#[test]
fn a_signal_that_killed_the_command_is_what_the_shell_sees() {
    let scene = Scene::new();
    for kind in BOTH {
        let script = format!("ns-enter {kind} -- bash -c 'kill -s KILL $BASHPID' 2>/dev/null; echo $?");
        // The first process of a pid namespace cannot be killed from inside, not even by itself.
        let expected = if kind == "pid" { "0\n" } else { "137\n" };
        scene.script(&script).assert().success().stdout(expected);
    }
}

#[test]
fn from_pid_1_a_signal_is_told_as_a_status() {
    let scene = Scene::new();
    // The outer namespace's first process is the supervisor of the inner.
    let inner = "ns-enter pid -- bash -c 'ulimit -c 0; ulimit -t 1; while :; do :; done'";
    let script = format!("ns-enter pid -- {inner}; echo $?");
    scene.script(&script).assert().success().stdout("137\n");
}

#[test]
fn the_command_gets_sigpipe_and_sigchld_as_the_caller_had_them() {
    let scene = Scene::new();
    let ignored = "grep SigIgn /proc/self/status";
    for kind in BOTH {
        let script = format!(
            "{ignored}; ns-enter {kind} -- {ignored}; trap '' PIPE CHLD; {ignored}; ns-enter {kind} -- {ignored}"
        );
        let run = scene.script(&script).assert().success();
        let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
        let masks: Vec<_> = output.lines().collect();
        assert_eq!(masks.len(), 4, "{output}");
        assert_eq!(masks[0], masks[1]);
        assert_eq!(masks[2], masks[3]);
        assert_ne!(masks[0], masks[2]);
    }
}

#[test]
fn only_the_standard_descriptors_and_the_kept_ones_reach_the_command() {
    let scene = Scene::new();
    for kind in BOTH {
        let list = "for fd in /proc/self/fd/*; do echo -n \"${fd##*/} \"; done";
        let script = format!("exec 7</dev/null 8</dev/null; ns-enter --keep-fd 8 {kind} -- bash -c '{list}'");
        let run = scene.script(&script).assert().success();
        let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
        let fds: Vec<_> = output.split_whitespace().collect();
        assert!(fds.contains(&"8") && !fds.contains(&"7"), "{kind}: {output}");
    }
    let run = scene.tool("ns-enter").args(["--keep-fd", "9", "uts", "true"]).assert().code(125);
    run.stderr("ns-enter: --keep-fd 9: Bad file descriptor\n");
}
