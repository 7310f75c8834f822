//! Who root in a box is outside, where /etc/subuid has ids for root.

use std::{fs, os::unix::fs::MetadataExt};

use chain_testing::{Running, Scene};
use nix::sys::signal::Signal;

const LINE: &str = "root:100000:65536\n";

/// A script in which `with_ids COMMAND` is one that finds these lines in /etc/subuid and /etc/subgid.
fn with_ids(scene: &Scene, users: &str, groups: &str, script: &str) -> String {
    format!("with_ids() {{ {} \"$@\"; }}; {script}", scene.subids(users, groups))
}

/// An upper directory of the box's root.
fn upper(scene: &Scene) {
    std::os::unix::fs::chown(scene.tree("upper", &[]), Some(100_000), Some(100_000)).expect("chown");
}

/// The user and the group to whom a file belongs.
fn owner(scene: &Scene, file: &str) -> (u32, u32) {
    let found = fs::symlink_metadata(scene.path(file)).expect(file);
    (found.uid(), found.gid())
}

#[test]
fn roots_box_has_ids_that_are_nobodys_and_sees_the_owners_that_its_root_has() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    fs::write(root.join("of-1000"), "").expect("write");
    std::os::unix::fs::chown(root.join("of-1000"), Some(1000), Some(7)).expect("chown");
    let look =
        "cat /proc/self/uid_map /proc/self/gid_map; id -u; busybox stat -c \"%u:%g %n\" / /bin /of-1000";
    for changes in ["", "--tmp", "--lower lower", "--lower lower --tmp=4M", "--upper upper"] {
        scene.tree("lower", &[]);
        upper(&scene);
        let script = format!("with_ids box-run --root root {changes} -- sh -c '{look}' | tr -s ' '");
        let map = " 0 100000 65536\n";
        scene
            .script(&with_ids(&scene, LINE, LINE, &script))
            .assert()
            .success()
            .stderr("")
            .stdout(format!("{map}{map}0\n0:0 /\n0:0 /bin\n1000:7 /of-1000\n"));
    }
}

#[test]
fn a_process_of_roots_box_is_no_user_of_the_host() {
    let scene = Scene::new();
    scene.rootfs("root");
    let mut words = scene.subids(LINE, LINE).split(' ');
    let mut unshare = scene.command(words.next().expect("a program"));
    unshare.args(words).args(["box-run", "--root", "root", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
    let running = Running::start(unshare);
    let children = |pid: String| {
        let all = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("children");
        all.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut below = children(running.pid().to_string());
    for pid in below.clone() {
        below.extend(children(pid));
    }
    assert_eq!(below.len(), 2, "{below:?}");
    for pid in below {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        for line in ["Uid:\t100000\t100000\t100000\t100000\n", "Gid:\t100000\t100000\t100000\t100000\n"] {
            assert!(status.contains(line), "{status}");
        }
        assert!(status.contains("Groups:\t \n"), "{status}");
    }
    running.send(Signal::SIGTERM);
    running.end();
}

#[test]
fn what_the_box_makes_belongs_outside_to_whom_it_is_there() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    fs::create_dir(root.join("dir")).expect("mkdir");
    fs::write(root.join("dir/old"), "old\n").expect("write");
    fs::write(root.join("file"), "1\n").expect("write");
    upper(&scene);
    let change = "echo 2 >>/file; echo new >/new; busybox chown 7:8 /new; busybox rm -r /dir; mkdir /dir; busybox chmod 4755 /file";
    let seen = "cat /file; ls /dir; busybox stat -c %u:%g / /file /new /dir";
    let options = "--root root --upper upper";
    let script = format!(
        "with_ids box-run {options} -- sh -c '{change}' && with_ids box-run {options} -- sh -c '{seen}'"
    );
    let stdout = "1\n2\n0:0\n0:0\n7:8\n0:0\n";
    scene.script(&with_ids(&scene, LINE, LINE, &script)).assert().success().stderr("").stdout(stdout);
    let root = (100_000, 100_000);
    for (file, is) in [("", root), ("/file", root), ("/new", (100_007, 100_008)), ("/dir", root)] {
        assert_eq!(owner(&scene, &format!("upper{file}")), is, "{file}");
    }
    assert_eq!(owner(&scene, "root/file"), (0, 0));
}

#[test]
fn changes_of_a_box_that_was_the_machines_root_are_for_such_a_box_alone() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("upper", &[]);
    let options = "--root root --upper upper";
    let script = format!(
        "box-run --allow-host-root {options} -- sh -c 'echo new >/new' && with_ids box-run {options} -- true; echo $?; \
         with_ids box-run --allow-host-root {options} -- cat /new"
    );
    let why = "it belongs to 0:0, which the map 0-100000-65536 shows as nobody; if it is empty, chown 100000:100000 it, \
               or use box-run --allow-host-root";
    scene
        .script(&with_ids(&scene, LINE, LINE, &script))
        .assert()
        .success()
        .stdout("125\nnew\n")
        .stderr(format!("box-run: ovl-mount: upper layer upper: {why}\n"));
}

#[test]
fn what_is_bound_is_somebody_elses_unless_it_is_mapped() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("closed/data", &[("file", "data\n"), ("secret", "secret\n")]);
    scene.tree("closed/given", &[]);
    // A directory above that is root's alone is no hindrance: root has named what is in it.
    let made = "chmod 700 closed; chmod 600 closed/data/secret; chown 100000:100000 closed/given;";
    let look = "cat /data/file /data/secret; echo more >>/data/file; echo more >/data/new; busybox stat -c %u:%g /data/file; \
                echo given >/given/new";
    let bind = "--bind closed/data:/data --bind closed/given:/given --ro-bind closed/data/file:/one";
    let script = format!("{made} with_ids box-run --root root --tmp {bind} -- sh -c '{look}' 2>/dev/null");
    let nobody = "data\n65534:65534\n";
    scene.script(&with_ids(&scene, LINE, LINE, &script)).assert().success().stdout(nobody);
    assert_eq!(owner(&scene, "closed/given/new"), (100_000, 100_000));

    let script = format!(
        "{made} with_ids box-run --root root --tmp --bind closed/data:/data:idmap=box --bind closed/given:/given -- sh -c '{look}'"
    );
    let mapped = "data\nsecret\n0:0\n";
    scene.script(&with_ids(&scene, LINE, LINE, &script)).assert().success().stderr("").stdout(mapped);
    assert_eq!(owner(&scene, "closed/data/new"), (0, 0));
}

#[test]
fn a_bind_with_the_boxs_map_is_as_it_is_where_root_is_the_machines_and_refused_elsewhere() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[]);
    let run = "--root root --tmp --bind data:/data:idmap=box -- busybox stat -c %u /data";
    scene.script(&format!("box-run --allow-host-root {run}")).assert().success().stdout("0\n");
    let why = "bind data: idmap=box: this box has a user namespace, but no map of root's; leave it out, or as root write the map, \
               as in idmap=0-100000-65536";
    for script in [
        scene.script(&format!("box-run --ns user=0:100000:65536 {run}")),
        scene.script_as_user(&format!("box-run {run}")),
    ] {
        let mut script = script;
        script.assert().code(125).stderr(format!("box-run: {why}\n"));
    }
}

#[test]
fn a_root_whose_owners_cannot_be_mapped_is_an_error_that_says_how_to_go_on() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("empty", &[]);
    let inner =
        "box-run --root empty -- echo ran; echo $?; box-run --root empty --allow-host-root -- echo ran";
    let script = format!("with_ids ovl-mount -l root --tmp empty -- sh -c '{inner}'");
    let why = "Invalid argument (its filesystem, or that of a mount below it, takes no id map); copy it to one that does, or use \
               box-run --allow-host-root";
    scene
        .script(&with_ids(&scene, LINE, LINE, &script))
        .assert()
        .success()
        .stdout("125\nran\n")
        .stderr(format!("box-run: ovl-mount: lower layer empty: {why}\n"));
}

#[test]
fn a_root_that_would_be_nobodys_in_the_box_is_an_error() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    std::os::unix::fs::chown(root, Some(100_000), Some(100_000)).expect("chown");
    let why = "it belongs to 100000:100000, whom the map 0-100000-65536 shows as nobody; give it the owners that it is to have \
               inside, or use box-run --allow-host-root";
    scene
        .script(&with_ids(&scene, LINE, LINE, "with_ids box-run --root root --tmp -- true"))
        .assert()
        .code(125)
        .stderr(format!("box-run: ovl-mount: lower layer root: {why}\n"));
}

#[test]
fn root_that_may_not_map_owners_has_no_box_in_which_it_is_the_machines_unless_that_is_allowed() {
    let scene = Scene::new();
    scene.rootfs("root");
    let few = "with_ids setpriv --bounding-set -sys_admin box-run --root root";
    let script =
        format!("{few} -- echo ran; echo $?; {few} --allow-host-root -- cat /proc/self/uid_map | tr -s ' '");
    scene
        .script(&with_ids(&scene, LINE, LINE, &script))
        .assert()
        .success()
        .stdout("125\n 0 0 1\n")
        .stderr(
            "box-run: root of the box: only who has CAP_SYS_ADMIN maps it to the ids that /etc/subuid has for it; \
             --allow-host-root goes on without\n",
        );
}

#[test]
fn what_is_free_in_a_range_of_roots_is_taken_and_what_is_free_beside_others_is_proposed() {
    let scene = Scene::new();
    scene.rootfs("root");
    let wide = "root:60000:300000\nann:100000:65536\n";
    let look = "with_ids box-run --root root -- cat /proc/self/uid_map | tr -s ' '";
    // nobody is among the first.
    let free = " 0 165536 65536\n";
    scene.script(&with_ids(&scene, wide, wide, look)).assert().success().stdout(free);
    let others = "ann:100000:65536\n";
    let script = "with_ids box-run --check --json | grep -o 'usermod [^\"]*root\"'";
    let proposed = "usermod --add-subuids 165536-231071 --add-subgids 165536-231071 root\"\n";
    scene.script(&with_ids(&scene, others, others, script)).assert().stdout(proposed);
}

#[test]
fn without_a_line_for_root_or_if_it_is_allowed_root_is_the_machines() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "-- cat /proc/self/uid_map | tr -s ' '";
    let all = " 0 0 4294967295\n";
    let root = format!("with_ids box-run --root root {look}");
    scene.script(&with_ids(&scene, "", LINE, &root)).assert().success().stdout(all);
    scene.script(&with_ids(&scene, "ann:100000:65536\n", "", &root)).assert().success().stdout(all);
    let allowed = format!("with_ids box-run --allow-host-root --root root {look}");
    scene.script(&with_ids(&scene, LINE, LINE, &allowed)).assert().success().stdout(all);
    let host = format!("with_ids box-run --chdir / {look}");
    scene.script(&with_ids(&scene, LINE, LINE, &host)).assert().success().stdout(all);
}

#[test]
fn a_line_for_root_that_cannot_be_used_is_an_error() {
    let scene = Scene::new();
    scene.rootfs("root");
    let hint = "--check has a line that can be; --allow-host-root goes on without";
    let common = "/etc/subuid, /etc/subgid: they do not give root the same 65536 ids, though the first has a line for root";
    let taken = "/etc/subuid: the 65536 ids from 100000 on, which it gives to root, are another user's or group's too";
    let both = "root:100000:65536\nann:165535:9\n";
    let form = "it is not of the form USER:FIRST:COUNT, such as root:100000:65536";
    for (users, groups, why) in [
        (LINE, "", common),
        ("root:100000:9\n", LINE, common),
        ("0:1:65536\n", "0:1:65536\n", &taken.replace("100000", "1")),
        (both, LINE, taken),
        (LINE, both, taken),
        ("ann:1:1\nroot:100000\n", LINE, &format!("/etc/subuid: line 2: {form}")),
        (" root:100000:65536\n", LINE, &format!("/etc/subuid: line 1: {form}")),
        (LINE, "root:-1:65536\n", &format!("/etc/subgid: line 1: {form}")),
        // newuidmap(1) takes it.
        ("root:100000:65536\nnobody:0x186a0:65536\n", LINE, &format!("/etc/subuid: line 2: {form}")),
    ] {
        scene
            .script(&with_ids(&scene, users, groups, "with_ids box-run --root root -- true"))
            .assert()
            .code(125)
            .stdout("")
            .stderr(format!("box-run: {why}; {hint}\n"));
    }
}

#[test]
fn a_map_that_is_typed_counts_and_is_told() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "cat /proc/self/uid_map | tr -s ' '";
    let script = format!(
        "with_ids box-run --idmap 0-200000-1000 --root root -- {look}; \
         box-run --idmap 0-200000-1000+1000-5000-1 --root root --tmp -- {look}; \
         box-run --idmap 0-200000-1000 -n --root root | grep -c -e 'owners mapped 0-200000-1000' -e '0:200000:1000'"
    );
    scene
        .script(&with_ids(&scene, LINE, LINE, &script))
        .assert()
        .success()
        .stderr("")
        .stdout(" 0 200000 1000\n 0 200000 1000\n 1000 5000 1\n3\n");
    for (options, error) in [
        (
            "--idmap 0-1-1 --chdir /",
            "--idmap 0-1-1: it is about a root of the box's own; add --root, or use --bind with idmap=",
        ),
        (
            "--idmap 0-1-1 --root root --ns user",
            "--idmap 0-1-1: it makes a user namespace, and --ns names another; leave one of them out",
        ),
        (
            "--idmap 0-9-9 --root root --fuse",
            "ovl-mount: --fuse: fuse-overlayfs maps no owners; leave it out, or use box-run --allow-host-root",
        ),
        ("--idmap 0-1-2+1-5-1 --root root", "--idmap 0-1-2+1-5-1: 1:5:1 overlaps another range"),
    ] {
        let run = scene.script(&format!("box-run {options} -- true")).assert().code(125);
        run.stderr(format!("box-run: {error}\n"));
    }
}

#[test]
fn the_table_says_what_root_in_a_box_is() {
    let scene = Scene::new();
    let script = "with_ids box-run --check --json | grep -o '{\"what\":\"root of boxes\"[^}]*}'";
    let has = r#"{"what":"root of boxes","has":true,"detail":"with --root it is 100000 outside"}"#;
    scene.script(&with_ids(&scene, LINE, LINE, script)).assert().stdout(format!("{has}\n"));
    let lacks = r#"{"what":"root of boxes","has":false,"detail":"/etc/subuid has no line for root, so it is the machine's root","remedy":"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root"}"#;
    scene.script(&with_ids(&scene, "", "", script)).assert().stdout(format!("{lacks}\n"));
}
