//! Images as layers.

use chain_testing::Scene;

/// Images of both kinds, made in the scene: `one.squashfs` and `two.erofs`.
fn images(scene: &Scene) {
    scene.tree("one", &[("a", "one\n"), ("both", "one\n")]);
    scene.tree("two", &[("b", "two\n"), ("both", "two\n")]);
    scene.tree("three", &[("c", "three\n"), ("both", "three\n")]);
    scene.tree("here", &[]);
    let script = "mksquashfs one one.squashfs -quiet -no-progress >&2 && mkfs.erofs two.erofs two >&2";
    scene.script(script).assert().success();
}

#[test]
fn images_are_layers_in_any_mix() {
    let scene = Scene::new();
    images(&scene);
    for (layers, shown) in [
        ("-l one.squashfs -l two.erofs -l three", "a b both c one"),
        ("-l three -l two.erofs -l one.squashfs", "a b both c three"),
        ("-l two.erofs -l two -l one.squashfs", "a b both two"),
        ("-l two.erofs", "b both two"),
        ("-l one.squashfs", "a both one"),
    ] {
        for changes in ["", "--tmp"] {
            let script =
                format!("ovl-mount {layers} {changes} here -- sh -c 'echo $(ls here; cat here/both)'");
            scene.script(&script).assert().success().stdout(format!("{shown}\n")).stderr("");
        }
    }
}

#[test]
fn what_changes_over_an_image_is_kept_in_the_upper() {
    let scene = Scene::new();
    images(&scene);
    scene.tree("upper", &[]);
    let script = "ovl-mount -l one.squashfs -u upper here -- sh -c 'echo more >> here/a; rm here/both'; cat upper/a; \
                  ovl-mount -l one.squashfs -u upper here; ls here; umount here";
    scene.script(script).assert().success().stdout("one\nmore\na\n").stderr("");
}

#[test]
fn a_loop_device_goes_with_the_mount() {
    let scene = Scene::new();
    images(&scene);
    let image = scene.path("one.squashfs");
    let script = format!(
        "used() {{ losetup --noheadings --list --output NAME --associated {0} | wc -l; }}; \
         ovl-mount -l one.squashfs --tmp here; used; cat here/a; umount here; used; \
         ovl-mount -l one.squashfs -l no/such --tmp here -- true; used; \
         ovl-mount -l one.squashfs --tmp here -- no-such-command; used",
        image.display()
    );
    let run = scene.script(&script).assert().success();
    run.stdout("1\none\n0\n0\n0\n");
}

#[test]
fn what_is_no_image_is_refused() {
    let scene = Scene::new();
    scene.tree("here", &[]);
    scene.tree(".", &[("text", "not an image\n"), ("empty", "")]);
    for (file, why) in [
        (
            "text",
            "neither a directory nor an image; images are of squashfs or erofs, such as mksquashfs DIR FILE makes",
        ),
        (
            "empty",
            "neither a directory nor an image; images are of squashfs or erofs, such as mksquashfs DIR FILE makes",
        ),
        ("/dev/null", "neither a directory nor an image"),
    ] {
        let run = scene.tool("ovl-mount").args(["-l", file, "--tmp", "here", "--", "echo", "ran"]).assert();
        run.code(125).stdout("").stderr(format!("ovl-mount: lower layer {file}: {why}\n"));
    }
    let script = "head -c 4096 /dev/zero > broken; printf hsqs | dd of=broken conv=notrunc 2>&-; \
                  ovl-mount -l broken --tmp here -- echo ran";
    let run = scene.script(script).assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.starts_with("ovl-mount: lower layer broken: mount squashfs: Invalid argument"), "{said}");
}
