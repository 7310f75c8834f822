//! What else the command has of a process: limits, priority, environment, session, personality.

use chain_testing::{Scene, Terminal};

fn output(scene: &Scene, args: &[&str]) -> String {
    let run = scene.tool("priv-drop").args(args).assert().success();
    String::from_utf8_lossy(&run.get_output().stdout).into_owned()
}

#[test]
fn limits_are_set_soft_and_hard_before_root_is_gone() {
    let scene = Scene::new();
    let limits = "grep -E 'open files|address|cpu time|core|realtime timeout' /proc/self/limits | tr -s ' '";
    let output = output(
        &scene,
        &[
            "--user",
            "7",
            "--rlimit",
            "nofile=64:128",
            "--rlimit=as=4G",
            "--rlimit=cpu=2m:max",
            "--rlimit=core=0",
            "--rlimit=rttime=1.5ms",
            "--",
            "sh",
            "-c",
            limits,
        ],
    );
    assert_eq!(
        output,
        "Max cpu time 120 unlimited seconds \nMax core file size 0 0 bytes \nMax open files 64 128 files \n\
         Max address space 4294967296 4294967296 bytes \nMax realtime timeout 1500 1500 us \n"
    );
}

#[test]
fn a_limit_that_leaves_no_room_for_ourselves_is_no_hindrance() {
    let scene = Scene::new();
    let script = "priv-drop --rlimit nofile=3 --user nobody -- busybox sh -c 'ulimit -n'";
    scene.script(script).assert().success().stdout("3\n");
}

#[test]
fn an_ordinary_user_cannot_raise_a_hard_limit() {
    let scene = Scene::new();
    let script = "ulimit -n 64; priv-drop --rlimit nofile=65 -- echo ran";
    scene
        .script_as_user(script)
        .assert()
        .code(125)
        .stdout("")
        .stderr("priv-drop: limit nofile=65: Operation not permitted; only root may raise a hard limit\n");
}

#[test]
fn priority_and_oom_score_are_as_asked() {
    let scene = Scene::new();
    let script = "nice; cat /proc/self/oom_score_adj";
    let args = ["--user=7", "--nice", "-5", "--oom=300", "--", "bash", "-c", script];
    assert_eq!(output(&scene, &args), "-5\n300\n");
}

#[test]
fn an_ordinary_user_is_told_that_it_cannot_lower_its_nice_value() {
    let scene = Scene::new();
    let call = |value| format!("renice -n 10 $$ >/dev/null; exec priv-drop --nice {value} -- nice");
    scene.script_as_user(&call(12)).assert().success().stdout("12\n");
    scene.script_as_user(&call(5)).assert().code(125).stdout("").stderr(
        "priv-drop: nice 5: Permission denied; the caller's is 10, and only root may lower it; take 10 or more\n",
    );
}

#[test]
fn an_ordinary_user_is_told_that_it_cannot_lower_its_oom_score() {
    let scene = Scene::new();
    scene
        .script_as_user("priv-drop --oom -1 -- echo ran")
        .assert()
        .code(125)
        .stdout("")
        .stderr("priv-drop: oom_score_adj -1: Permission denied; only root may lower it\n");
}

#[test]
fn a_root_without_proc_cannot_take_an_oom_score() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene
        .script(
            "cp $(command -v priv-drop) root/bin; mkdir root/proc/self; touch root/proc/self/oom_score_adj",
        )
        .assert()
        .success();
    let run = scene.script("chroot root /bin/priv-drop --oom 5 -- echo ran").assert().code(125).stdout("");
    run.stderr("priv-drop: oom_score_adj 5: /proc is no proc filesystem\n");
}

#[test]
fn the_environment_is_the_callers_or_empty_then_what_is_passed_then_what_is_set() {
    let scene = Scene::new();
    let script = "export A=a B=b C=c; priv-drop --env-clear --env-pass A --env-pass NONE --env B=1 --env C=2 --env C=3 -- /usr/bin/env";
    scene.script(script).assert().success().stdout("A=a\nB=1\nC=3\n");
    let script = "env -i PATH=$PATH A=a priv-drop --env A= --env E='x\n=y' -- env | grep -v ^PATH";
    scene.script(script).assert().success().stdout("A=\nE=x\n=y\n");
}

#[test]
fn the_command_is_looked_for_by_its_own_path() {
    let scene = Scene::new();
    scene.rootfs("root");
    let script = "priv-drop --env PATH=$PWD/root/bin -- busybox echo ran; priv-drop --env PATH=/ -- busybox";
    scene.script(script).assert().code(127).stdout("ran\n");
}

#[test]
fn a_new_session_has_no_terminal_to_type_into() {
    let scene = Scene::new();
    for (options, expected) in [("", "it has one"), ("--new-session", "it has none")] {
        let mut command = scene.command("priv-drop");
        command.args(options.split_terminator(' '));
        command.args(["--", "sh", "-c", "(: </dev/tty) 2>/dev/null && echo it has one || echo it has none"]);
        let mut terminal = Terminal::new(command);
        terminal.wait_for(expected);
        assert!(terminal.end().success());
    }
}

#[test]
fn the_leader_of_a_process_group_gets_a_session_too() {
    let scene = Scene::new();
    let script =
        "setsid --wait priv-drop --new-session -- sh -c 'ps -o sid= -p $$ | tr -d \" \"; echo $$; exit 7'";
    let run = scene.script(script).assert().code(7);
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let lines: Vec<_> = output.lines().collect();
    assert!(lines.len() == 2 && lines[0] == lines[1], "{output}");
}

#[test]
fn the_personality_is_added_to() {
    let scene = Scene::new();
    let script = "setarch --show | tr -d '\\n'; cat /proc/self/personality; uname -m";
    let args = ["--personality=addr-no-randomize", "--personality", "linux32", "--", "sh", "-c", script];
    assert!(output(&scene, &args).ends_with("00040008\ni686\n"));
}

#[test]
fn only_named_descriptors_reach_the_command() {
    let scene = Scene::new();
    let script = "exec 7</dev/null 8</dev/null; priv-drop --keep-fd 7 -- busybox ls /proc/self/fd";
    scene.script(script).assert().success().stdout("0\n1\n2\n3\n7\n");
}

#[test]
fn a_new_keyring_has_none_of_the_callers_keys() {
    let scene = Scene::new();
    // add_key(2) and KEYCTL_SEARCH of keyctl(2), in the session keyring (-3).
    let add = "perl -e 'syscall(248, my $t = \"user\", my $n = \"ours\", my $s = \"x\", 1, -3) > 0 or die $!; exec @ARGV' --";
    let look = "perl -e 'print syscall(250, 10, -3, my $t = \"user\", my $n = \"ours\", 0) > 0 ? \"found\" : \"none\"'";
    // In a session keyring of this test.
    let with = |option: &str| {
        format!(
            "perl -e 'syscall(250, 1, 0) > 0 or die $!; exec @ARGV' -- {add} priv-drop {option} -- {look}"
        )
    };
    for (option, seen) in [("", "found"), ("--new-keyring", "none")] {
        scene.script(&with(option)).assert().success().stdout(seen);
        scene.script_as_user(&with(option)).assert().success().stdout(seen);
    }
}
