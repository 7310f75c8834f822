//! What the caller has open, as a bind or as the text of a file.

use std::fs;

use chain_testing::Scene;

#[test]
fn an_open_directory_is_bound_whatever_its_name_is_by_now() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[("file", "data\n")]);
    let script = "exec 7<data; mv data moved; mkdir data; \
                  root-enter --bind fd:7:/data root -- sh -c 'cat /data/file; echo new > /data/new; ls /proc/self/fd/7 2>/dev/null'; \
                  cat moved/new";
    scene.script(script).assert().success().stdout("data\nnew\n");
}

#[test]
fn an_open_file_is_bound_read_only_and_any_descriptor_will_do() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[("file", "data\n")]);
    let script = "exec 0<data/file 8>>data/file; \
                  root-enter --ro-bind fd:0:/zero --bind fd:8:/eight root -- sh -c \
                  'cat /zero; (echo > /zero) 2>/dev/null || echo refused; echo more >> /eight; cat /zero'";
    scene.script(script).assert().success().stdout("data\nrefused\ndata\nmore\n");
}

#[test]
fn a_mount_that_the_box_makes_on_what_was_open_is_not_seen_outside() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data/below", &[]);
    // As systemd makes all mounts.
    let script = "exec ns-enter mnt -- bash -c 'mount --bind data data && mount --make-shared data && \
                  exec 7<data && root-enter --bind fd:7:/data root -- busybox mount -t tmpfs none /data/below && \
                  grep -c data/below /proc/self/mountinfo'";
    scene.script(script).assert().code(1).stdout("0\n");
}

#[test]
fn a_text_is_read_from_a_descriptor_to_its_end() {
    let scene = Scene::new();
    scene.rootfs("root");
    let script = "root-enter --file @5:/etc/five --file @6:/six root -- sh -c \
                  'cat /etc/five; busybox wc -c < /six; ls /proc/self/fd/5 /proc/self/fd/6 2>/dev/null' \
                  5<<<text 6< <(head -c 300000 /dev/zero); true";
    scene.script(script).assert().success().stdout("text\n300000\n");
}

#[test]
fn one_that_the_command_is_to_get_as_well_is_still_the_callers() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[("file", "data\n")]);
    let script = "exec 5<data/file 6<data; root-enter --keep-fd 5 --keep-fd 6 --file @5:/five --bind fd:6:/six root -- \
                  sh -c 'cat /five /six/file; busybox stat -L -c %i /proc/self/fd/5 /proc/self/fd/6'; stat -c %i data/file data";
    let run = scene.script(script).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[..2], ["data", "data"]);
    assert_eq!(lines[2..4], lines[4..], "{said}");
}

#[test]
fn one_that_is_not_open_or_is_of_another_mount_namespace_is_told() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = scene.script("root-enter --bind fd:77:/x root -- true").assert().code(125);
    run.stderr("root-enter: bind descriptor 77: Bad file descriptor\n");
    let script = "exec 7</; ns-enter --keep-fd 7 mnt -- root-enter --bind fd:7:/x root -- true";
    let run = scene.script(script).assert().code(125);
    run.stderr(
        "root-enter: bind descriptor 7: Invalid argument; it must be of the mount namespace that the caller is in\n",
    );
    assert!(!scene.path("root/x").exists());
}

#[test]
fn a_fused_box_takes_them_too_and_says_that_a_chain_does_not() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[("file", "data\n")]);
    let script = "exec 7<data; box-run --root root --tmp --bind fd:7:/data --file @8:/text -- \
                  sh -c 'cat /data/file /text; echo new > /data/new; ls /proc/self/fd/7 2>/dev/null' 8<<<text";
    scene.script(&format!("{script}; true")).assert().success().stdout("data\ntext\n");
    assert_eq!(fs::read_to_string(scene.path("data/new")).expect("new"), "new\n");
    let run = scene.script("box-run --print --root root --tmp --bind fd:7:/data 7<data").assert().code(125);
    run.stderr(
        "box-run: --print: descriptor 7: the tools of a chain do not pass it on; name a path, or leave out --print\n",
    );
}
