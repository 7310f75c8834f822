//! Signals through a supervisor.

use std::os::unix::process::ExitStatusExt;

use chain_testing::{Running, Scene, last_descendant_is, wait_until};
use nix::{sys::signal::Signal, unistd::Pid};

/// Says the number of each signal that it gets, as often as it gets it; the second TERM ends it with
/// status 9. Not a shell, which catches no SIGCHLD but that of its own children. Each signal waits until
/// there is nothing else to do, so that none is lost between two steps, and none is taken for two.
const COUNT: &str = r#"
use POSIX;
$| = 1;
my $all = POSIX::SigSet->new;
$all->fillset;
sigprocmask(SIG_BLOCK, $all);
my $terms = 0;
for my $signal (grep { $_ != SIGKILL && $_ != SIGSTOP } 1 .. 31) {
    my $say = sub { print "$signal\n"; exit 9 if $signal == SIGTERM && ++$terms == 2 };
    sigaction($signal, POSIX::SigAction->new($say, $all));
}
print "ready\n";
sigsuspend(POSIX::SigSet->new) while 1;
"#;

#[test]
fn each_signal_reaches_the_command_once() {
    let scene = Scene::new();
    std::fs::write(scene.path("count"), COUNT).expect("write");
    for words in [
        &["ns-enter", "pid"][..],
        &["ns-enter", "pid,mnt"],
        &["ns-enter", "--init", "pid"],
        &["ns-enter", "--init", "pid,mnt"],
        &["ns-enter", "--timeout", "1h", "uts"],
        &["cg-set", "pids=50"],
        &["cg-set", "pids=50", "--", "ns-enter", "pid"],
        &["cg-set", "pids=50", "--", "ns-enter", "--init", "pid,mnt"],
        &["ns-enter", "pid,mnt", "--", "cg-set", "pids=50"],
    ] {
        let mut running = Running::new(&scene, words, "exec perl count");
        for signal in Signal::iterator().filter(|signal| ![Signal::SIGKILL, Signal::SIGSTOP].contains(signal))
        {
            running.send(signal);
            // One that came twice would be there instead of the next.
            assert_eq!(running.line(), (signal as i32).to_string(), "{words:?}, {signal}");
        }
        running.send(Signal::SIGTERM);
        let (rest, status) = running.end();
        assert_eq!((rest.as_str(), status.code()), ("15\n", Some(9)), "{words:?}");
    }
}

#[test]
fn a_signal_to_the_whole_group_from_inside_is_not_doubled() {
    let scene = Scene::new();
    let script = "setsid cg-set pids=50 -- bash -c 'n=0; trap \"n=\\$((n+1))\" USR1; kill -USR1 0; \
                  for i in 1 2 3 4 5; do /bin/true; done; echo $n'";
    scene.script(script).assert().success().stdout("1\n");
}

#[test]
fn a_command_that_does_not_handle_a_signal_dies_of_it_even_as_pid_1() {
    let scene = Scene::new();
    for words in [
        &["ns-enter", "pid"][..],
        &["cg-set", "pids=50"],
        &["cg-set", "pids=50", "--", "ns-enter", "pid,mnt"],
    ] {
        let running = Running::new(&scene, words, "echo ready; exec tail -f /dev/null");
        let tool = running.pid();
        // The shell has to become tail first: bash handles signals that tail does not.
        wait_until("tail runs", || last_descendant_is(tool.as_raw(), "tail"));
        running.send(Signal::SIGTERM);
        let (_, status) = running.end();
        assert_eq!(status.signal(), Some(Signal::SIGTERM as i32), "{words:?}");
    }
}

#[test]
fn a_stop_stops_the_supervisor_too_and_a_continue_resumes_both() {
    let scene = Scene::new();
    let nested: &[&str] = &["cg-set", "pids=50", "--", "ns-enter", "pid"];
    for words in [
        &["ns-enter", "pid"],
        &["cg-set", "pids=50"],
        nested,
        &["cg-set", "pids=50", "--", "cg-set", "pids=50"],
    ] {
        let script = "echo ready; exec tail -f /dev/null";
        let running = Running::new(&scene, words, script);
        wait_until("tail runs", || last_descendant_is(running.pid().as_raw(), "tail"));
        running.send(Signal::SIGTSTP);
        wait_until("the supervisor stops", || state(running.pid()) == 'T');
        running.send(Signal::SIGCONT);
        wait_until("the supervisor goes on", || state(running.pid()) == 'S');
        running.send(Signal::SIGTERM);
        assert_eq!(running.end().1.signal(), Some(Signal::SIGTERM as i32), "{words:?}");
    }
}

fn state(pid: Pid) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let (_, rest) = stat.rsplit_once(") ").expect("fields");
    rest.chars().next().expect("state")
}

#[test]
fn the_command_dies_with_a_supervisor_that_is_killed() {
    let scene = Scene::new();
    let running =
        Running::new(&scene, &["ns-enter", "pid,mnt"], "echo ready; sleep 1000 & sleep 1000 & wait");
    running.send(Signal::SIGKILL);
    // The pipe ends only when the last of its writers is gone; the scene looks for processes too.
    let (_, status) = running.end();
    assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
}

#[test]
fn a_box_whose_proc_is_of_another_namespace_or_missing_can_be_ended() {
    let scene = Scene::new();
    for (words, script) in [
        (&["ns-enter", "pid", "--", "ns-enter", "pid"][..], "echo ready; exec tail -f /dev/null"),
        (
            &["ns-enter", "mnt", "--", "sh", "-c", "umount -l /proc; exec \"$@\"", "sh", "ns-enter", "pid"],
            "echo ready; exec tail -f /dev/null",
        ),
    ] {
        let running = Running::new(&scene, words, script);
        wait_until("tail runs", || last_descendant_is(running.pid().as_raw(), "tail"));
        running.send(Signal::SIGTERM);
        let (_, status) = running.end();
        // An inner supervisor is process 1, and tells the signal as a status.
        assert!(status.signal() == Some(15) || status.code() == Some(128 + 15), "{words:?}: {status}");
    }
}

#[test]
fn a_supervisor_that_is_process_1_reaps_orphans() {
    let scene = Scene::new();
    let script = "for i in {1..60}; do (true &); done; wait; echo forked";
    let mut tool = scene.tool("ns-enter");
    tool.args(["pid,mnt", "--", "cg-set", "pids=30", "--", "bash", "-c", script])
        .assert()
        .success()
        .stdout("forked\n")
        .stderr("");
}

#[test]
fn a_command_that_a_real_time_signal_kills_ends_as_a_shell_shows_it() {
    let scene = Scene::new();
    let run = scene.tool("cg-set").args(["pids=5", "--", "bash", "-c", "kill -34 $$"]).assert();
    run.code(128 + 34).stderr("");
}

#[test]
fn the_name_of_a_command_need_not_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    std::fs::copy("/bin/bash", scene.path(name)).expect("copy");
    let mut command = scene.command("ns-enter");
    let script = "trap 'echo got; exit 7' USR1; exec 3<> <(:); echo ready; while :; do read -t 0.1 line <&3; done 2>/dev/null";
    command.args(["pid,mnt", "--"]).arg(scene.path(name)).args(["-c", script]);
    let running = Running::start(command);
    running.send(Signal::SIGUSR1);
    let (said, status) = running.end();
    assert_eq!((said.as_str(), status.code()), ("got\n", Some(7)));
}
