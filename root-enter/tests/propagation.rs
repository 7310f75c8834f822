//! How binds hang together with what is outside.

use chain_testing::Scene;

/// In a mount namespace whose mounts are shared: what comes into the box, and what goes out of it.
const SCRIPT: &str = r#"
    mount --make-rshared / && mount -t tmpfs none place && mount --make-shared place && mkdir place/in place/out && mkfifo place/go place/went
    (read line <place/go; mount -t tmpfs came place/in; echo >place/went) &
    root-enter $0 --bind place:/place root -- sh -c '
        echo >/place/go; read line </place/went
        busybox grep -q came /proc/self/mountinfo && echo in
        busybox mount -t tmpfs went /place/out; busybox mount -t tmpfs went /tmp'
    grep -q went /proc/self/mountinfo && echo out
    wait; echo $(grep -c " $PWD/root" /proc/self/mountinfo)"#;

#[test]
fn mounts_go_in_and_out_as_was_asked_for_and_the_root_stays_inside() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("place", &[]);
    for (option, expected) in [
        ("", "0\n"),
        ("--propagation private", "0\n"),
        ("--propagation slave", "in\n0\n"),
        ("--propagation shared", "in\nout\n0\n"),
        ("--propagation unchanged", "in\nout\n0\n"),
    ] {
        let mut tool = scene.tool("ns-enter");
        let run = tool.args(["mnt", "--", "bash", "-c", SCRIPT, option]);
        run.assert().success().stdout(expected);
    }
}

#[test]
fn a_root_that_is_shared_outside_can_be_entered_and_no_mount_of_it_is_seen_there() {
    let scene = Scene::new();
    scene.rootfs("root");
    let script = "mount --make-rshared / && mount --bind root root && mount --make-shared root && before=$(wc -l </proc/self/mountinfo)
                  root-enter $0 --tmpfs /tmp $1 -- sh -c 'echo entered'
                  echo $(($(wc -l </proc/self/mountinfo) - before))";
    for option in
        ["--propagation=private", "--propagation=slave", "--propagation=shared", "--propagation=unchanged"]
    {
        let mut tool = scene.tool("ns-enter");
        let run = tool.args(["mnt", "--", "bash", "-c", script, option, "root"]);
        run.assert().success().stdout("entered\n0\n");
        let mut tool = scene.tool("ns-enter");
        let run = tool.args(["mnt", "--", "bash", "-c", script, option, "/"]);
        run.assert().success().stdout("entered\n0\n");
    }
}
