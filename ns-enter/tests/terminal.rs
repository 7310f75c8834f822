//! Job control: real shells on a terminal, with a supervisor between them.

use chain_testing::{Scene, Terminal, last_descendant_is, wait_until};

/// The tools in front of the inner command, one or two supervisors deep, with NEXT as process 1, as 2,
/// and as neither.
const CHAINS: [&str; 4] = [
    "ns-enter pid,mnt --",
    "ns-enter --init pid,mnt --",
    "cg-set pids=50 --",
    "cg-set pids=50 -- ns-enter pid --",
];

/// An interactive shell that says `$` before a command is typed.
fn shell(scene: &Scene) -> Terminal {
    let mut bash = scene.command("bash");
    bash.args(["--norc", "--noprofile", "--noediting", "-i"]).env("PS1", "<$ ").env("LC_ALL", "C");
    let mut terminal = Terminal::new(bash);
    terminal.wait_for("<$ ");
    terminal
}

#[test]
fn ctrl_c_reaches_the_command_once() {
    let scene = Scene::new();
    // A trap interrupts wait at once.
    let script = "trap \"echo cau''ght\" INT; trap \"kill $!; echo en''ded; exit\" TERM; \
                  sleep 1000 & echo rea''dy; while :; do wait; done";
    std::fs::write(scene.path("script"), script).expect("write");
    for chain in CHAINS {
        let mut terminal = shell(&scene);
        terminal.type_keys(&format!("{chain} bash script\n"));
        terminal.wait_for("ready");
        terminal.type_keys("\x03");
        terminal.wait_for("caught");
        terminal.type_keys("\x1a");
        terminal.wait_for("Stopped");
        terminal.wait_for("<$ ");
        terminal.type_keys("kill %1; fg\n");
        let shown = terminal.wait_for("ended");
        assert!(!shown.contains("caught"), "{chain}: {shown}");
        terminal.wait_for("<$ ");
        terminal.type_keys("exit\n");
        terminal.end();
    }
}

#[test]
fn ctrl_c_ends_a_command_that_does_not_handle_it() {
    let scene = Scene::new();
    for chain in CHAINS {
        let mut terminal = shell(&scene);
        terminal.type_keys(&format!("{chain} tail -f /dev/null\n"));
        wait_until("tail runs", || last_descendant_is(terminal.pid(), "tail"));
        terminal.type_keys("\x03");
        terminal.wait_for("<$ ");
        terminal.type_keys("echo status:$?\n");
        terminal.wait_for("status:130");
        terminal.type_keys("exit\n");
        terminal.end();
    }
}

#[test]
fn ctrl_z_stops_the_box_and_fg_resumes_it() {
    let scene = Scene::new();
    for chain in CHAINS {
        let mut terminal = shell(&scene);
        // As process 1 a plain program would not be stopped.
        terminal.type_keys(&format!("{chain} cat\n"));
        wait_until("cat runs", || last_descendant_is(terminal.pid(), "cat"));
        terminal.type_keys("one\n");
        terminal.wait_for("one\r\none");
        terminal.type_keys("\x1a");
        terminal.wait_for("Stopped");
        terminal.wait_for("<$ ");
        terminal.type_keys("fg\n");
        // The shell says what it resumes, when the terminal is the job's again. What is typed before the
        // end of that line is shown in it.
        terminal.wait_for(&format!("{chain} cat\r\n"));
        terminal.type_keys("two\n");
        terminal.wait_for("two\r\ntwo");
        terminal.type_keys("\x04");
        terminal.wait_for("<$ ");
        terminal.type_keys("echo status:$?; exit\n");
        terminal.wait_for("status:0");
        terminal.end();
    }
}

#[test]
fn a_shell_in_the_box_has_job_control() {
    let scene = Scene::new();
    for chain in CHAINS {
        let mut terminal = shell(&scene);
        terminal.type_keys(&format!("PS1='i'\"n> \" {chain} bash --norc --noediting -i\n"));
        terminal.wait_for("in> ");
        terminal.type_keys("cat\n");
        terminal.type_keys("hello\n");
        terminal.wait_for("hello\r\nhello");
        terminal.type_keys("\x1a");
        terminal.wait_for("Stopped");
        terminal.wait_for("in> ");
        terminal.type_keys("fg\n");
        terminal.wait_for("fg\r\ncat");
        terminal.type_keys("\x04");
        terminal.wait_for("in> ");
        terminal.type_keys("exit 7\n");
        terminal.wait_for("<$ ");
        terminal.type_keys("echo status:$?; exit\n");
        terminal.wait_for("status:7");
        terminal.end();
    }
}

#[test]
fn a_command_in_the_foreground_that_stops_itself_is_a_stopped_job() {
    let scene = Scene::new();
    // In a new pid namespace it would be process 1, which the kernel does not let stop itself.
    for chain in ["cg-set pids=50 --", "ns-enter --init pid,mnt --", "cg-set pids=50 -- cg-set pids=50 --"] {
        let mut terminal = shell(&scene);
        terminal.type_keys(&format!("{chain} sh -c 'kill -STOP $$; exit 7'\n"));
        terminal.wait_for("Stopped");
        terminal.wait_for("<$ ");
        terminal.type_keys("fg\n");
        terminal.wait_for(chain);
        terminal.wait_for("<$ ");
        terminal.type_keys("echo status:$?; exit\n");
        terminal.wait_for("status:7");
        terminal.end();
    }
}

#[test]
fn a_hang_up_reaches_the_command_of_a_supervisor_that_leads_the_session() {
    let scene = Scene::new();
    for chain in CHAINS {
        let words: Vec<_> = chain.split(' ').collect();
        let mut command = scene.command(words[0]);
        // Nothing is forked once it is ready: bash 5.2 forgets a trap whose signal comes just before that.
        let script = "trap 'echo hung up > heard; exit 5' HUP; exec 3<> <(:); echo ready; while :; do read -t 0.1 line <&3; done 2>/dev/null";
        command.args(&words[1..]).args(["bash", "-c", script]);
        let mut terminal = Terminal::new(command);
        terminal.wait_for("ready");
        terminal.hang_up();
        assert_eq!(terminal.end().code(), Some(5), "{chain}");
        assert_eq!(std::fs::read_to_string(scene.path("heard")).expect("heard"), "hung up\n", "{chain}");
        std::fs::remove_file(scene.path("heard")).expect("remove");
    }
}
