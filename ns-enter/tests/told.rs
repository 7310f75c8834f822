//! What others are told before the command runs, and what it waits for.

use std::{fs, os::unix::fs::MetadataExt};

use chain_testing::Scene;

#[test]
fn info_fd_gets_the_pid_and_the_namespaces_of_the_command() {
    let scene = Scene::new();
    let kinds = "uts,pid,time,cgroup,ipc";
    let run =
        scene.script(&format!("ns-enter --info-fd 3 {kinds} -- ls -l /proc/self/ns 3>&1 >links")).assert();
    let line = String::from_utf8_lossy(&run.success().get_output().stdout).into_owned();
    assert!(line.starts_with("{\"pid\":") && line.lines().count() == 1, "{line}");
    let links = fs::read_to_string(scene.path("links")).expect("links");
    for kind in ["uts", "pid", "time", "cgroup", "ipc", "mnt", "net", "user"] {
        let (_, rest) = links.split_once(&format!("{kind}:[")).expect("a link");
        let inode = rest.split(']').next().expect("an inode");
        assert!(line.contains(&format!("\"{kind}\":{inode}")), "{kind}: {line} {links}");
        let own = fs::metadata(format!("/proc/self/ns/{kind}")).expect("own").ino().to_string();
        assert_eq!(kinds.contains(kind), own != inode, "{kind}");
    }
}

#[test]
fn the_pid_file_is_there_when_the_command_runs_and_gone_after_it() {
    let scene = Scene::new();
    let run = scene.script("ns-enter --pid-file file uts -- sh -c 'echo $$; cat file'").assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let (own, file) = output.trim_end().split_once('\n').expect("two lines");
    assert_eq!(own, file);
    assert!(!scene.path("file").exists());
}

#[test]
fn the_command_waits_for_a_byte_or_the_end_of_the_descriptor() {
    let scene = Scene::new();
    let script = "mkfifo go; ns-enter --info-fd 4 --wait-fd 3 net -- sh -c 'grep -c late /proc/self/net/dev' \
                  3<>go 4>info & while ! [ -s info ]; do read -t 0.01 x <> <(:); done; \
                  pid=$(sed 's/{\"pid\":\\([0-9]*\\).*/\\1/' info); [ \"$(cat /proc/$pid/comm)\" = ns-enter ] && echo held; \
                  nsenter --net=/proc/$pid/ns/net ip link add late type veth peer name other; echo >go; wait";
    let run = scene.script(script).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(output.starts_with("held\n") && output.ends_with("1\n"), "{output}");
    scene.script("ns-enter --wait-fd 3 uts -- echo ran 3</dev/null").assert().success().stdout("ran\n");
}

#[test]
fn the_time_of_the_command_begins_when_it_is_let_run() {
    let scene = Scene::new();
    let script = "mkfifo go; ns-enter --timeout 2s --info-fd 4 --wait-fd 3 uts -- echo ran 3<>go 4>info & box=$!; \
                  while ! [ -s info ]; do read -t 0.01 x <> <(:); done; read -t 2.5 x <> <(:); echo >go; wait $box";
    scene.script(script).assert().success().stdout("ran\n");
}

#[test]
fn who_waits_for_a_descriptor_can_be_ended() {
    let scene = Scene::new();
    let script = "mkfifo go; ns-enter --info-fd 4 --wait-fd 3 uts -- echo ran 3<>go 4>info & box=$!; \
                  while ! [ -s info ]; do read -t 0.01 x <> <(:); done; kill $box; wait $box; echo $?";
    scene.script(script).assert().success().stdout("143\n");
}

#[test]
fn a_pid_file_that_is_no_plain_file_is_written_and_stays() {
    let scene = Scene::new();
    let script = "ns-enter --pid-file /dev/stdout uts -- true | grep -c '^[0-9]*$'; \
                  echo old >real; ln -s real link; ns-enter --pid-file link uts -- cat real | grep -c '^[0-9]'; [ -L link ] && echo linked; \
                  echo old >plain; ns-enter --pid-file plain uts -- sh -c 'echo $$ | diff - plain && ls'; ls; \
                  mkfifo fifo; ns-enter --pid-file fifo uts -- echo ran";
    let run = scene.script(script).assert().code(125).stdout("1\n1\nlinked\nlink\nplain\nreal\nlink\nreal\n");
    run.stderr(
        "ns-enter: --pid-file fifo: No such device or address (os error 6); nobody reads it\n"
            .replace(" (os error 6)", ""),
    );
}

#[test]
fn a_pid_file_is_locked_as_long_as_the_command_is_there() {
    let scene = Scene::new();
    let script = "exec 3< <(exec ns-enter --pid-file file uts -- sh -c 'echo ready; exec sleep 1000'); tool=$!; read line <&3; stat -c %a file; \
                  ns-enter --pid-file file uts -- echo ran 2>&1 | sed s/$tool/TOOL/; ps -o ppid= -p $(cat file) | grep -c $tool; \
                  kill -9 $tool; cat <&3; ls; ns-enter --pid-file file uts -- sh -c 'echo $$ | diff - file && echo ran'; ls -A";
    let taken = "ns-enter: --pid-file file: process TOOL has it for a command that runs; end that, or name another file";
    scene.script(script).assert().success().stdout(format!("600\n{taken}\n1\nfile\nran\n"));
}

#[test]
fn who_tells_a_pipe_that_is_full_can_be_ended() {
    let scene = Scene::new();
    let script = "mkfifo full; exec 4<>full; dd if=/dev/zero bs=64k count=1 >&4 2>/dev/null; \
                  ns-enter --info-fd 4 pid,mnt -- echo ran & box=$!; \
                  until { read -r child rest </proc/$box/task/$box/children; grep -q pipe_read /proc/$child/wchan; }; do read -t 0.01 x <> <(:); done 2>/dev/null; \
                  kill $box; wait $box; echo $?";
    scene.script(script).assert().success().stdout("143\n");
}

#[test]
fn a_descriptor_that_is_not_open_is_not_one_of_ours() {
    let scene = Scene::new();
    for (words, redirect) in [
        ("--wait-fd 3", ""),
        ("--wait-fd 3 --info-fd 4", "4>/dev/null"),
        ("--info-fd 1", ">&-"),
        ("--wait-fd 0", "<&-"),
        ("--keep-fd 0", "<&-"),
    ] {
        let script = format!(
            "ns-enter {words} uts@/proc/$$/ns/uts,net@/proc/$$/ns/net -- sh -c 'echo ran >&2' {redirect}"
        );
        let run = scene.script(&script).assert().code(125).stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.ends_with(": Bad file descriptor\n") && said.lines().count() == 1, "{script}: {said}");
    }
}
