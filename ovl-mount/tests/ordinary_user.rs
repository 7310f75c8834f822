//! As an ordinary user, in a user namespace.

use std::{fs, os::unix::fs::chown};

use chain_testing::{ORDINARY_USER, Scene, kernel_is_from, skip};

fn on_tmpfs(scene: &Scene) -> bool {
    let output = scene.script("stat -f -c %T .").output().expect("stat");
    String::from_utf8_lossy(&output.stdout).trim() == "tmpfs"
}

#[test]
fn an_ordinary_user_keeps_changes_and_sees_them_again() {
    let scene = Scene::new();
    let mine = scene.tree("mine", &[]);
    chown(&mine, Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
    if !kernel_is_from((6, 6)) && on_tmpfs(&scene) {
        return skip("before Linux 6.6 a tmpfs keeps no marks of an overlay of an ordinary user");
    }
    let script = "cd mine; mkdir -p lower/dir upper here; echo lower > lower/file; touch lower/dir/old; \
                  box='ns-enter user,mnt -- ovl-mount -l lower -u upper here --'; \
                  $box sh -c 'echo more >> here/file; rm -r here/dir; mkdir here/dir; touch here/dir/new'; \
                  cat lower/file; ls lower/dir; $box sh -c 'cat here/file; ls here/dir'";
    scene.script_as_user(script).assert().success().stdout("lower\nold\nlower\nmore\nnew\n").stderr("");
}

#[test]
fn an_ordinary_user_changes_a_tree_of_roots_in_memory() {
    let scene = Scene::new();
    let roots = scene.tree("roots", &[("file", "root's\n")]);
    let script = "ns-enter user,mnt -- ovl-mount -l roots --tmp roots -- \
                  sh -c 'rm roots/file; echo new > roots/new; ls roots'; ls roots";
    scene.script_as_user(script).assert().success().stdout("new\nfile\n").stderr("");
    assert_eq!(fs::read_to_string(roots.join("file")).expect("file"), "root's\n");
}

#[test]
fn an_image_is_for_root() {
    let scene = Scene::new();
    scene.tree("one", &[]);
    let script = "mksquashfs one one.squashfs -quiet -no-progress >&2 && mkfs.erofs one.erofs one >&2; chmod 644 one.*";
    scene.script(script).assert().success();
    for image in ["one.squashfs", "one.erofs"] {
        let script = format!("ns-enter user,mnt -- ovl-mount -l {image} one -- echo ran");
        let run = scene.script_as_user(&script).assert().code(125).stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.starts_with(&format!("ovl-mount: lower layer {image}: ")), "{said}");
        assert!(said.contains("only root may mount an image"), "{said}");
    }
}

#[test]
fn a_layer_with_other_mounts_in_it_is_refused_and_explained() {
    let scene = Scene::new();
    let run = scene
        .script_as_user("ns-enter user,mnt -- ovl-mount -l /dev --tmp /mnt -- echo ran")
        .assert()
        .code(125);
    run.stdout("").stderr(
        "ovl-mount: mount overlay: Invalid argument; in a user namespace no layer may be a directory in which \
         something else is mounted\n",
    );
}

#[test]
fn what_needs_trusted_attributes_is_refused_and_explained() {
    let scene = Scene::new();
    scene.tree("lower", &[]);
    let hint =
        "; --redirect-dir and --metacopy are not to be had with --userxattr, which a user namespace needs\n";
    for option in ["--redirect-dir on", "--redirect-dir=follow", "--metacopy on"] {
        let words = format!("ovl-mount -l lower --tmp {option} lower -- echo ran");
        let run =
            scene.script_as_user(&format!("ns-enter user,mnt -- {words}")).assert().code(125).stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(
            said.starts_with("ovl-mount: mount overlay: Invalid argument") && said.ends_with(hint),
            "{said}"
        );
        let run = scene
            .script(&words.replace("lower --tmp", "lower --userxattr --tmp"))
            .assert()
            .code(125)
            .stdout("");
        let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(said.ends_with(hint), "{said}");
    }
    let script = "ns-enter user,mnt -- ovl-mount -l lower --tmp --redirect-dir nofollow --metacopy off lower -- echo ran";
    scene.script_as_user(script).assert().success().stdout("ran\n").stderr("");
}
