//! `--fuse`: an overlay in user space.

use std::os::unix::fs::chown;

use chain_testing::{ORDINARY_USER, Scene, wait_until};

/// Whether this machine has a process of fuse-overlayfs that was started in the scene.
fn is_running(scene: &Scene) -> bool {
    let script = "for pid in $(pgrep -x fuse-overlayfs); do readlink /proc/$pid/cwd; done";
    let output = scene.script(script).output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.lines().any(|dir| scene.dir().to_str() == Some(dir))
}

#[test]
fn it_does_what_the_kernels_does_and_ends_with_the_command() {
    let scene = Scene::new();
    scene.tree("lower", &[("a", "lower\n"), ("gone", "")]);
    scene.tree("b,c:d", &[("b", "lower\n")]);
    scene.tree("upper", &[]);
    scene.tree("here", &[]);
    for changes in ["--tmp", "-u upper"] {
        let script = format!(
            "ovl-mount --fuse -l lower -l b,c:d {changes} here -- \
             sh -c 'grep -o fuse.fuse-overlayfs /proc/self/mountinfo; echo more >> here/a; rm here/gone; ls here; cat here/a'; \
             cat lower/a; ls here"
        );
        let run = scene.script(&script).assert().success().stderr("");
        run.stdout("fuse.fuse-overlayfs\na\nb\nlower\nmore\nlower\n");
    }
    scene.script("cat upper/a").assert().success().stdout("lower\nmore\n");
    wait_until("the program has ended", || !is_running(&scene));
}

#[test]
fn an_ordinary_user_has_it_too() {
    let scene = Scene::new();
    for dir in ["lower", "upper", "here"] {
        chown(scene.tree(dir, &[]), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
    }
    chown(scene.dir(), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
    let user = "mkdir lower/dir; box=\"ns-enter user,mnt -- ovl-mount --fuse -l lower -u upper here --\"; \
                $box sh -c \"rmdir here/dir; echo kept > here/file\"; $box ls here; ls lower";
    // Not every machine lets all users open it, as udev does.
    let script = format!(
        "unshare -m bash -c 'mknod fuse c 10 229; chmod 666 fuse; mount --bind fuse /dev/fuse; \
         exec setpriv --reuid {ORDINARY_USER} --regid {ORDINARY_USER} --clear-groups bash -c '\\''{user}'\\'"
    );
    scene.script_as_user("true").assert().success();
    let run = scene.script(&format!("PATH=$PWD/bin:$PATH; {script}")).assert().success();
    run.stdout("file\ndir\n").stderr("");
}

#[test]
fn without_a_command_it_stays_until_umount() {
    let scene = Scene::new();
    scene.tree("lower", &[("a", "a\n")]);
    scene.tree("here", &[]);
    scene.tree("upper", &[]);
    let script = "ovl-mount --fuse -l lower -u upper here && echo more >> here/a && cat here/a; umount here; cat lower/a; ls here";
    scene.script(script).assert().success().stdout("a\nmore\na\n").stderr("");
    wait_until("the program has ended", || !is_running(&scene));
}

#[test]
fn where_it_is_missing_or_fails_that_is_said() {
    let scene = Scene::new();
    scene.tree("lower", &[]);
    scene.tree("empty", &[]);
    let tool = "$(command -v ovl-mount)";
    let script = format!("PATH=empty {tool} --fuse -l lower --tmp lower -- echo ran");
    let run = scene.script(&script).assert().code(125).stdout("");
    run.stderr("ovl-mount: run fuse-overlayfs: No such file or directory; install it, or leave out --fuse\n");
    let run = scene
        .script("ovl-mount --fuse -l lower --tmp -o squash_to_uid=x lower -- echo ran")
        .assert()
        .code(125)
        .stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.starts_with("ovl-mount: run fuse-overlayfs: ") && said.lines().count() == 1, "{said}");
}
