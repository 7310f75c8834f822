//! NEXT as a program of the host, so that a chain goes on in the new root.

use std::{fs, os::unix::fs::PermissionsExt};

use chain_testing::Scene;

#[test]
fn the_chain_goes_on_in_the_new_root() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    fs::write(root.join("etc/which"), "the new root\n").expect("write");
    // The second tool is of the host, what it runs is not.
    let script = "root-enter -H root -- ns-enter uts=inner -- sh -c 'hostname; cat /etc/which; ls /usr 2>/dev/null; true'";
    scene.script(script).assert().success().stdout("inner\nthe new root\n");
    assert!(!scene.path("root/bin/ns-enter").exists());
    scene.script("root-enter -H root -- ns-enter uts -- bash").assert().code(127);
}

#[test]
fn it_is_found_as_the_caller_finds_it_and_keeps_its_name() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    fs::remove_file(root.join("bin/echo")).expect("rm");
    fs::create_dir(scene.path("own")).expect("mkdir");
    fs::copy("/bin/busybox", scene.path("own/echo")).expect("busybox");
    // Busybox does what its name says.
    for script in [
        "PATH=/nowhere:$PWD/own:$PATH root-enter -H root -- echo found",
        "root-enter --host-next root -- own/echo found",
        "cd own && root-enter -H ../root -- ./echo found",
        "ns-enter uts -- root-enter -H root -- own/echo found",
        "ns-enter --init pid,mnt -- root-enter -H root -- own/echo found",
        "box-run --root root -H -- own/echo found",
    ] {
        scene.script(script).assert().success().stdout("found\n");
    }
    let variable = "VARIABLE=kept root-enter -H root -- own/echo found";
    scene.script(variable).assert().success();
    fs::rename(scene.path("own/echo"), scene.path("own/env")).expect("mv");
    let said = scene
        .script("env -i VARIABLE=kept PATH=$PATH bash -c 'root-enter -H root -- own/env' | grep VAR")
        .assert();
    said.success().stdout("VARIABLE=kept\n");
}

#[test]
fn what_needs_another_file_is_refused_before_anything_is_made() {
    let scene = Scene::new();
    scene.tree("empty", &[]);
    fs::write(scene.path("script"), "#!/bin/sh\n").expect("write");
    fs::set_permissions(scene.path("script"), fs::Permissions::from_mode(0o755)).expect("chmod");
    fs::write(scene.path("text"), "text\n").expect("write");
    let hint = "link it statically, or run the new root's own without -H";
    let script = "name one that is linked statically, as busybox sh, or run what the new root has without -H";
    for (program, status, why) in [
        (
            "/bin/true",
            126,
            format!("run /bin/true of the host: it needs a dynamic loader and libraries; {hint}"),
        ),
        (
            "./script",
            126,
            format!("run ./script of the host: it is a script, which needs its interpreter; {script}"),
        ),
        (
            "./text",
            126,
            "run ./text: Permission denied; is it executable, and its filesystem not noexec?".into(),
        ),
        ("/etc", 126, "run /etc: Permission denied (it is a directory)".into()),
        ("no-such-program", 127, "run no-such-program: No such file or directory".into()),
    ] {
        let run = scene.tool("root-enter").args(["-H", "empty", "--", program]).assert().code(status);
        run.stderr(format!("root-enter: {why}\n"));
    }
    assert_eq!(fs::read_dir(scene.path("empty")).expect("root").count(), 0);
}

#[test]
fn nobody_in_the_new_root_can_change_the_hosts_program() {
    let scene = Scene::new();
    scene.rootfs("root");
    let program = scene.tree("own", &[]).join("busybox");
    fs::copy("/bin/busybox", &program).expect("busybox");
    // While it runs the kernel refuses in any case; when it is another program by then it would not.
    let inner = "echo x > /proc/self/fd/3";
    let outer = format!("exec 3</proc/self/exe; exec /bin/busybox sh -c \"{inner}\"");
    let run = scene
        .tool("root-enter")
        .args(["-H", "root", "--", "own/busybox", "sh", "-c", &outer])
        .assert()
        .code(1);
    run.stderr("sh: can't create /proc/self/fd/3: Read-only file system\n");
    assert_eq!(fs::read(program).expect("file"), fs::read("/bin/busybox").expect("file"));
}
