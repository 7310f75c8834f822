//! Binds of the host's files, and a root that does not want them where they belong.

use std::{fs, os::unix::fs::symlink};

use chain_testing::Scene;

#[test]
fn a_bind_is_written_through_and_a_read_only_one_is_not() {
    let scene = Scene::new();
    scene.rootfs("root");
    let data = scene.tree("data", &[("a", "host\n")]);
    let script = "cat /var/lib/data/a /ro/a; echo box > /var/lib/data/b; echo box > /ro/b || echo refused";
    let args = ["--bind", "data:/var/lib/data", "--ro-bind", "data:/ro", "root", "--", "sh", "-c", script];
    scene.tool("root-enter").args(args).assert().success().stdout("host\nhost\nrefused\n");
    assert_eq!(fs::read_to_string(data.join("b")).expect("file"), "box\n");
}

#[test]
fn a_read_only_bind_is_so_all_the_way_down() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data/below", &[]);
    let script = "ns-enter mnt -- bash -c 'mount -t tmpfs none data/below && touch data/below/seen && \
                  root-enter --ro-bind data:/data root -- sh -c \"ls /data/below; echo > /data/below/x || echo refused\"'";
    scene.script(script).assert().success().stdout("seen\nrefused\n");
}

#[test]
fn a_file_is_bound_on_a_file_and_later_binds_lie_in_earlier_ones() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("outer/inner", &[]);
    scene.tree("other", &[("file", "other\n")]);
    let args = ["--bind", "outer:/o", "--ro-bind", "other:/o/inner", "--ro-bind", "other/file:/o/single"];
    let end = ["root", "--", "cat", "/o/inner/file", "/o/single"];
    scene.tool("root-enter").args(args).args(end).assert().success().stdout("other\nother\n");
}

#[test]
fn any_byte_may_be_in_the_names() {
    let scene = Scene::new();
    scene.rootfs("root");
    fs::create_dir(scene.path("a:b\\c d\ne")).expect("mkdir");
    fs::write(scene.path("a:b\\c d\ne/file"), "seen\n").expect("write");
    let bind = "a\\:b\\\\c d\ne:/x\\:y\nz";
    let run =
        scene.tool("root-enter").args(["--bind", bind, "root", "--", "sh", "-c", "cat /x*/file"]).assert();
    run.success().stdout("seen\n");
}

#[test]
fn a_link_in_the_root_leads_nowhere_but_into_the_root() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let outside = scene.tree("outside", &[]);
    let data = scene.tree("data", &[("file", "data\n")]);
    symlink(&outside, root.join("absolute")).expect("symlink");
    symlink("../../../../../../outside", root.join("relative")).expect("symlink");
    symlink(outside.join("missing"), root.join("dangling")).expect("symlink");
    fs::create_dir_all(root.join(outside.strip_prefix("/").expect("absolute"))).expect("mkdir");
    fs::create_dir(root.join("outside")).expect("mkdir");
    for place in ["/absolute", "/relative"] {
        let bind = format!("{}:{place}", data.display());
        let script = format!(
            "cat {place}/file; cat /proc/self/mountinfo | while read _ _ _ _ at _; do echo $at; done"
        );
        let run =
            scene.tool("root-enter").args(["--bind", &bind, "root", "--", "sh", "-c", &script]).assert();
        let output = String::from_utf8_lossy(&run.success().get_output().stdout).into_owned();
        assert!(output.starts_with("data\n"), "{output}");
    }
    let bind = format!("{}:/dangling", data.display());
    scene.tool("root-enter").args(["--bind", &bind, "root", "--", "true"]).assert().code(125);
    assert_eq!(fs::read_dir(&outside).expect("directory").count(), 0, "nothing was made outside");
}

#[test]
fn dev_and_proc_as_links_to_the_host_do_not_change_the_host() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let outside = scene.tree("outside", &[]);
    for name in ["dev", "proc"] {
        fs::remove_dir(root.join(name)).expect("rmdir");
        symlink(&outside, root.join(name)).expect("symlink");
    }
    scene.tool("root-enter").args(["root", "--", "true"]).assert().code(125);
    assert_eq!(fs::read_dir(&outside).expect("directory").count(), 0);
}

#[test]
fn a_file_on_a_directory_and_the_reverse_are_told() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[("file", "")]);
    for (bind, doing) in [
        ("data/file:/etc", "/etc in the new root: Is a directory"),
        ("data:/bin/sh", "/bin/sh in the new root: Not a directory"),
    ] {
        let run = scene.tool("root-enter").args(["--bind", bind, "root", "--", "true"]).assert().code(125);
        run.stderr(format!(
            "root-enter: {doing}; a directory is bound on a directory, and a file on a file\n"
        ));
    }
}
