//! Boxes with names: listed, entered and ended.

use chain_testing::{Scene, Terminal};

fn said(scene: &Scene, script: &str) -> String {
    let output = scene.script(script).output().expect("bash");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Starts a box of this name whose command says when it runs, and waits for that.
fn start(name: &str, options: &str, command: &str) -> String {
    format!(
        "exec 3< <(exec box-run --root root --tmp --name {name} {options} -- sh -c '{command}; echo ready; while :; do sleep 1000 & wait $!; done'); \
         box=$!; read line <&3; "
    )
}

/// A name that no other test has at the same time.
fn name(of: &str) -> String {
    format!("test-{of}-{}", std::process::id())
}

#[test]
fn a_box_is_listed_while_it_is_there_and_its_name_is_taken() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("ps");
    let script = start(&name, "", ":")
        + &format!(
            "box-run ps | grep {name} | tr -s ' ' | cut -d ' ' -f 1,4-6; box-run ps --json | grep -o '\"name\":\"{name}\"'; \
             box-run --root root --name {name} -- echo ran; box-run stop {name}; wait $box; echo $?; box-run ps | grep -c {name}; \
             box-run --root root --name {name} -- echo ran"
        );
    let seen = said(&scene, &script);
    let expected = format!("{name} sh -c ':;\n\"name\":\"{name}\"\n143\n0\nran\n");
    assert!(seen.starts_with(&expected), "{seen}");
    assert!(seen.contains(&format!("box-run: --name {name}: such a box is there, as process ")), "{seen}");
}

#[test]
fn a_command_that_is_run_in_a_box_is_in_all_that_the_box_is_in() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "for kind in uts ipc pid net mnt user cgroup; do busybox readlink /proc/self/ns/$kind; done; hostname; id; busybox pwd; \
                busybox grep -E ^Cap.*:\\|NoNew\\|Seccomp: /proc/self/status; busybox cat /proc/self/cgroup; busybox env | busybox sort; busybox ls /proc/self/fd | busybox wc -l";
    for options in ["--hostname web", "--user 1000:7 --mem 64M", "--seccomp none --caps chown", "--no-init"] {
        let name = name("exec");
        let script = start(&name, options, &format!("({look}) > /dev/shm/own"))
            + &format!(
                "box-run exec {name} -- sh -c '({look}) > /dev/shm/other'; echo $?; box-run exec {name} busybox diff /dev/shm/own /dev/shm/other; box-run exec {name} -- sh -c 'exit 7'; echo $?; \
                        box-run stop --kill-after 100ms {name}; wait $box"
            );
        // What bash in the box has set for the children of its own.
        let seen = said(&scene, &script);
        let lines: Vec<_> = seen
            .lines()
            .filter(|line| {
                !line.contains("SHLVL")
                    && !line.starts_with("@@")
                    && !line.starts_with("---")
                    && !line.starts_with("+++")
                    && !line.starts_with(' ')
            })
            .collect();
        assert_eq!(lines, ["0", "7"], "{options}: {seen}");
    }
}

#[test]
fn a_command_that_is_run_in_a_box_is_held_to_its_limits_and_ends_with_it() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("limits");
    let script = start(&name, "--mem 16M", ":")
        + &format!(
            "box-run exec {name} -- tail /dev/zero; echo $?; exec 4< <(exec box-run exec {name} -- sh -c 'echo in; sleep 1000'); other=$!; read line <&4; \
                    kill -9 $box; wait $other; echo $line $?; cat <&4; cg-set pids=9 -- true; rm /run/chainbox-{name}.pid"
        );
    let seen = said(&scene, &script);
    assert!(seen.contains("137\n") && seen.contains("in 137\n"), "{seen}");
}

#[test]
fn a_box_that_ignores_its_signal_is_killed() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("stop");
    let script = start(&name, "", "trap \"\" TERM")
        + &format!("box-run stop --kill-after 50ms {name}; echo $?; wait $box; echo $?; cat <&3");
    assert_eq!(said(&scene, &script), "0\n137\n");
}

#[test]
fn what_a_killed_box_has_left_is_no_box() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("killed");
    let file = format!("/run/chainbox-{name}.pid");
    let script = start(&name, "", ":")
        + &format!(
            "kill -9 $box; cat <&3; ls {file}; box-run ps | grep -c {name}; box-run stop {name}; \
                    echo 1 >{file}; box-run ps | grep -c {name}; echo nonsense >{file}; box-run ps | grep -c {name}; \
                    echo $$ >{file}; box-run ps | grep -c {name}; \
                    box-run --root root --name {name} -- echo ran; ls {file} 2>/dev/null; cg-set pids=9 -- true"
        );
    let seen = said(&scene, &script);
    let expected = format!(
        "{file}\n0\n0\n0\n0\nran\nbox-run: {name}: there is no box of this name; box-run ps lists those that there are\n"
    );
    assert_eq!(seen, expected);
}

#[test]
fn of_two_boxes_that_start_at_once_one_has_the_name() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("race");
    // The first process of a box is the child of its supervisor. What the last one has left is there.
    let script = format!(
        "mkfifo out; exec 4<>out; for round in {{1..50}}; do for each in 1 2; do \
         {{ box-run --root root --name {name} --pids max -- sh -c 'echo ran; exec sleep 1000' >&4 2>>errors; [ $? = 125 ] && echo refused >&4; }} >/dev/null & done; \
         read -r one <&4; read -r other <&4; printf '%s\\n' $one $other | sort | paste -s -d ' '; [ $one = $other ] && exit; \
         read -r box </run/chainbox-{name}.pid; read -r _ _ _ supervisor _ </proc/$box/stat; kill -9 $supervisor; wait; done 2>/dev/null; \
         rm /run/chainbox-{name}.pid"
    );
    assert_eq!(said(&scene, &script), "ran refused\n".repeat(50));
    let errors = std::fs::read_to_string(scene.path("errors")).expect("errors");
    assert!(errors.lines().filter(|line| line.contains(&name)).count() == 50, "{errors}");
}

#[test]
fn what_is_no_box_of_the_caller_is_passed_over_in_the_list() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("foreign");
    let others = format!("/run/chainbox-a-{name}");
    let script = start(&name, "", ":")
        + &format!(
            "mkfifo {others}-fifo.pid; mkdir {others}-dir.pid; ln -s {others}-fifo.pid {others}-link.pid; echo 1 >{others}-other.pid; chown 54321 {others}-other.pid; \
             echo 1 >{others}-stale.pid; timeout 20 box-run ps | grep -o 'a-{name}\\|{name}'; timeout 20 box-run stop a-{name}-other; timeout 20 box-run stop a-{name}-fifo; \
             rm -r {others}-*; box-run stop {name}; wait $box"
        );
    let expected = format!(
        "{name}\nbox-run: {others}-other.pid: it is not the caller's\n\
         box-run: a-{name}-fifo: there is no box of this name; box-run ps lists those that there are\n"
    );
    assert_eq!(said(&scene, &script), expected);
}

#[test]
fn an_ordinary_user_has_boxes_of_its_own() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = scene.tree("run", &[]);
    std::os::unix::fs::chown(&run, Some(chain_testing::ORDINARY_USER), None).expect("chown");
    let script = "export XDG_RUNTIME_DIR=$PWD/run; ".to_owned()
        + &start("mine", "--hostname web", ":")
        + "box-run ps | grep -c mine; box-run exec mine -- sh -c 'hostname; id -u; echo /proc/[0-9]'; box-run stop mine; wait $box; echo $?; ls run; \
           unset XDG_RUNTIME_DIR; box-run ps";
    let output = scene.script_as_user(&script).output().expect("bash");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        seen,
        "1\nweb\n0\n/proc/1 /proc/2 /proc/3 /proc/4\n143\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        error,
        "box-run: names of boxes: there is no XDG_RUNTIME_DIR to keep them in; log in, or set it to a directory of your own\n"
    );
}

#[test]
fn a_command_that_is_run_in_a_box_is_the_user_of_its_command_in_another_user_namespace_too() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    // As its root would have it, whom the map makes 100000.
    let own =
        |path: &std::path::Path| std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).expect("chown");
    own(&root);
    let name = name("mapped");
    let script = start(&name, "--ns user=0:100000:65536 --user 1000:7", "id -u >/dev/shm/own")
        + &format!(
            "box-run exec {name} -- sh -c 'id -u; id -g; cat /dev/shm/own; busybox grep ^Cap.*: /proc/self/status | busybox sort -u -k 2 | busybox wc -l'; \
             box-run stop --kill-after 100ms {name}; wait $box"
        );
    let seen = said(&scene, &script);
    assert!(seen.starts_with("1000\n7\n1000\n"), "{seen}");
}

#[test]
fn a_command_that_is_run_in_a_box_has_the_limits_of_its_command() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("rlimits");
    let script = start(&name, "--rlimit nofile=77:99 --rlimit fsize=1M", ":")
        + &format!(
            "box-run exec {name} -- sh -c 'ulimit -Sn; ulimit -Hn; ulimit -f; ulimit -c'; \
             box-run stop --kill-after 100ms {name}; wait $box"
        );
    assert_eq!(said(&scene, &script), "77\n99\n2048\n0\n");
}

#[test]
fn a_box_whose_program_has_another_name_is_entered() {
    let scene = Scene::new();
    scene.rootfs("root");
    let name = name("renamed");
    let script = "cp $(command -v box-run) sandbox; ".to_owned()
        + &start(&name, "", ":").replace("exec box-run", "exec ./sandbox")
        + &format!("./sandbox exec {name} -- echo in; box-run stop {name}; wait $box");
    assert_eq!(said(&scene, &script), "in\n");
}

#[test]
fn a_command_that_is_run_in_a_box_at_a_terminal_has_one_of_its_own_there() {
    let scene = Scene::new();
    scene.rootfs("root");
    // Whoever comes is asked for its terminal, which is then read for as long as it is there.
    let hunt = "echo ready; while [ ! -e /tmp/stop ]; do for p in /proc/[0-9]*; do t=$(busybox readlink $p/fd/0); \
                case $t in /dev/pts/*|*/dev/pts/*) exec 5<>$p/fd/0 && break 2;; esac; done; done 2>/dev/null; \
                echo got $t >/tmp/got; busybox timeout 20 cat <&5 >>/tmp/read 2>&1; exec sleep 1000";
    scene.tree("attack", &[("hunt", hunt)]);
    std::fs::create_dir(scene.path("root/attack")).expect("mkdir");
    std::fs::create_dir(scene.path("shared")).expect("mkdir");
    let name = name("terminal");
    let begin = format!(
        "exec 3< <(exec box-run --root root --tmp --name {name} --bind shared:/tmp --ro-bind attack:/attack -- sh /attack/hunt </dev/null 2>/dev/null); \
         read line <&3; PS1='at the host> ' exec bash --norc --noprofile -i"
    );
    let mut bash = scene.command("bash");
    bash.args(["-c", &begin]);
    let mut terminal = Terminal::new(bash);
    terminal.wait_for("at the host> ");
    let command = "echo one\"\"two; while [ ! -e /tmp/got ]; do :; done; exit 7";
    terminal.type_keys(&format!("box-run exec {name} -- sh -c '{command}'\n"));
    terminal.wait_for("onetwo");
    terminal.wait_for("at the host> ");
    terminal.type_keys("echo status $?\n");
    terminal.wait_for("status 7");
    terminal.type_keys(": typed at the host\n");
    terminal.wait_for("at the host> ");
    terminal.type_keys("stty -a | grep -o ' icanon'; box-run exec ");
    terminal.type_keys(&format!("{name} -- sh -c 'echo sl\"\"eeps; exec sleep 1000'\n"));
    terminal.wait_for(" icanon");
    terminal.wait_for("sleeps");
    terminal.type_keys("\u{3}");
    terminal.wait_for("at the host> ");
    terminal.type_keys(&format!("echo status $?; box-run stop --kill-after 100ms {name}; exit\n"));
    terminal.wait_for("status 130");
    terminal.end();
    let read = std::fs::read_to_string(scene.path("shared/read")).unwrap_or_default();
    assert!(!read.contains("typed at the host"), "{read}");
}
