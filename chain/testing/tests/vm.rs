//! The second kernel of `scripts/vm`, as its user meets it.

use std::{path::Path, process::Command};

use chain_testing::{Scene, Terminal};

fn vm(scene: &Scene, words: &[&str]) -> Command {
    let repo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = scene.command(repo.join("scripts/vm"));
    command.args(words).current_dir(repo);
    command
}

#[test]
fn a_shell_at_a_terminal_has_a_prompt_job_control_and_the_terminals_size() {
    let scene = Scene::new();
    let mut start = scene.command("bash");
    let script = "stty rows 33 cols 111; before=$(stty --save); scripts/vm sh; echo ended with $?; \
                  [[ $(stty --save) == $before ]] && echo as before";
    start.args(["-c", script]).current_dir(vm(&scene, &[]).get_current_dir().expect("the repository"));
    let mut terminal = Terminal::new(start);
    terminal.wait_for("# ");
    terminal.type_keys("stty size; tty\r");
    terminal.wait_for("33 111\r");
    terminal.wait_for("/dev/hvc0");
    terminal.type_keys("sleep 1000; echo $((40 + 1))\r");
    terminal.wait_for("+ 1))\r");
    // Ctrl-C ends what runs there, and nothing else.
    terminal.type_keys("\x03");
    terminal.wait_for("# ");
    terminal.type_keys("exit $((40 + 2))\r");
    terminal.wait_for("ended with 42");
    terminal.wait_for("as before");
    assert!(terminal.end().success());
}

#[test]
fn a_command_that_hangs_ends_at_the_time_limit_with_the_last_that_was_said() {
    let scene = Scene::new();
    let hang = "echo on its output; echo on the console >/dev/console; exec sleep 1000";
    let run = vm(&scene, &["--timeout", "30", "--", "sh", "-c", hang]).output().expect("the VM");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert_eq!((run.status.code(), run.stdout.as_slice()), (Some(125), &b"on its output\n"[..]), "{said}");
    let (console, rest) = said.split_once("vm: the last lines of its output:\n").expect("both");
    assert!(console.starts_with("vm: the last lines of its console:\n"), "{said}");
    assert!(console.contains("on the console"), "{said}");
    let end = "vm: the command did not end in 30 seconds; --timeout gives it more\n";
    assert_eq!(rest, format!("on its output\n{end}"));
}
