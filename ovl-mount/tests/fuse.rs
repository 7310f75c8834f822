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

/// What is done in an overlay of fuse-overlayfs, which marks each directory that is made there as opaque.
const CHANGES: &str = "echo more >> here/a; rm here/gone; rm -r here/dir; mkdir here/dir; echo new > here/dir/new; mkdir here/own; touch here/own/b";
const TOLD: &str = "C a\nR dir\nA dir/new\nD gone\nA own\nA own/b\n";

#[test]
fn what_it_wrote_is_understood() {
    let scene = Scene::new();
    scene.tree("lower", &[("a", "lower\n"), ("gone", "")]);
    scene.tree("lower/dir", &[("old", "")]);
    scene.tree("upper", &[]);
    scene.tree("here", &[]);
    let script = format!(
        "cp -a lower to; ovl-mount --fuse -l lower -u upper here -- sh -c '{CHANGES}'; ls -A upper/dir; ovl-diff -l lower upper"
    );
    let run = scene.script(&script).env("LC_ALL", "C").assert().code(1).stderr("");
    run.stdout(format!(".wh..opq\n.wh..wh..opq\nnew\n{TOLD}"));
    let script = "ovl-commit upper --to to; cat to/a; cd to; find | sort; getfattr -d a; cd ..; ovl-layer upper -o x.tar; tar -tf x.tar";
    let run = scene.script(script).env("LC_ALL", "C").assert().success().stderr("");
    run.stdout(
        "lower\nmore\n.\n./a\n./dir\n./dir/new\n./own\n./own/b\n\
         .wh.gone\na\ndir/\ndir/.wh..wh..opq\ndir/new\nown/\nown/.wh..wh..opq\nown/b\n",
    );
}

#[test]
fn what_it_wrote_for_an_ordinary_user_is_understood_too() {
    let scene = Scene::new();
    scene.tree("lower", &[("a", "lower\n"), ("gone", "")]);
    scene.tree("lower/dir", &[("old", "")]);
    // As it does it where it may not write trusted.*.
    let script = "mkdir -p upper/dir upper/own; echo more > upper/a; echo new > upper/dir/new; touch upper/own/b; \
                  setfattr -n user.fuseoverlayfs.origin -v a upper/a; mknod upper/gone c 0 0; \
                  for dir in upper/dir upper/own; do setfattr -n user.fuseoverlayfs.opaque -v y $dir; \
                      touch $dir/.wh..wh..opq; mknod $dir/.wh..opq c 0 0; done; ovl-diff --userxattr -l lower upper";
    scene.script(script).assert().code(1).stdout(TOLD).stderr("");
    // Such a file in a box of root's is no mark: anybody could make it there.
    let why = "ovl-diff: dir/.wh..wh..opq: fuse-overlayfs makes such a file in an opaque directory, which this is not";
    let run = scene.script("ovl-diff upper").assert().code(125).stdout("");
    run.stderr(format!("{why}; add --userxattr if it is an ordinary user's\n"));
    let script = "setfattr -x user.fuseoverlayfs.opaque upper/dir; ovl-diff upper; setfattr -x user.fuseoverlayfs.opaque upper/own; \
                  setfattr -n trusted.overlay.opaque -v y upper/dir; rm upper/own/.wh*; ovl-diff -l lower upper";
    let run = scene.script(script).assert().code(1).stdout(TOLD);
    run.stderr(format!(
        "{why}; set the attribute trusted.overlay.opaque of the directory to y, or remove the file\n"
    ));
}
