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
    let script = "mkfifo go; ns-enter --timeout 50ms --info-fd 4 --wait-fd 3 uts -- echo ran 3<>go 4>info & box=$!; \
                  while ! [ -s info ]; do read -t 0.01 x <> <(:); done; read -t 0.2 x <> <(:); echo >go; wait $box";
    scene.script(script).assert().success().stdout("ran\n");
}

#[test]
fn who_waits_for_a_descriptor_can_be_ended() {
    let scene = Scene::new();
    let script = "mkfifo go; ns-enter --info-fd 4 --wait-fd 3 uts -- echo ran 3<>go 4>info & box=$!; \
                  while ! [ -s info ]; do read -t 0.01 x <> <(:); done; kill $box; wait $box; echo $?";
    scene.script(script).assert().success().stdout("143\n");
}
