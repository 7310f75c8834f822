//! What works on the mounts of a new root: setuid, devices, writing; and whose files are whose.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
};

use chain_testing::{ORDINARY_USER, Scene, kernel_is_from, skip};

/// A root with the host's perl, which can do what busybox cannot. It is of the host's /usr, read-only.
const PERL: &str = "--ro-bind /usr:/usr --symlink usr/lib:/lib --symlink usr/lib64:/lib64";

fn said(scene: &Scene, script: &str) -> String {
    String::from_utf8_lossy(&scene.script(script).assert().success().get_output().stdout).into_owned()
}

/// The mount options that the box sees of a place.
fn options(scene: &Scene, words: &str, place: &str) -> String {
    let look = format!("busybox awk '$5 == \"{place}\" {{ print $6 }}' /proc/self/mountinfo");
    said(
        scene,
        &format!("root-enter {words} root -- sh -c \"{}\"", look.replace('"', "\\\"").replace('$', "\\$")),
    )
}

#[test]
fn setuid_programs_do_not_become_root_unless_it_is_allowed() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    for place in [root.join("bin/setuid"), scene.tree("data", &[]).join("setuid")] {
        fs::copy("/usr/bin/perl", &place).expect("perl");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o4755)).expect("chmod");
    }
    let as_user = format!(
        "/usr/bin/perl -e '$( = $) = \"{ORDINARY_USER} {ORDINARY_USER}\"; $< = $> = {ORDINARY_USER}; exec @ARGV' "
    );
    let look = "-e 'print \"$>\\n\"'";
    for (allowed, of_root, of_bind) in [
        ("--bind data:/data", ORDINARY_USER, ORDINARY_USER),
        ("--bind data:/data:suid", ORDINARY_USER, 0),
        ("--suid --bind data:/data", 0, 0),
        ("--suid --bind data:/data:nosuid", 0, ORDINARY_USER),
    ] {
        for (program, expected) in [("/bin/setuid", of_root), ("/data/setuid", of_bind)] {
            let script = format!("root-enter {PERL} {allowed} root -- {as_user} {program} {look}");
            assert_eq!(said(&scene, &script), format!("{expected}\n"), "{script}");
        }
    }
}

#[test]
fn device_files_do_not_work_unless_it_is_allowed() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[]);
    let make = "mknod root/zero c 1 5; mknod data/zero c 1 5; ";
    let read = "for file in /zero /data/zero; do busybox head -c 1 $file 2>/dev/null | busybox wc -c; done";
    for (allowed, expected) in [
        ("--bind data:/data", "0\n0\n"),
        ("--bind data:/data:dev", "0\n1\n"),
        ("--device-files --bind data:/data", "1\n1\n"),
        ("--device-files --bind data:/data:nodev", "1\n0\n"),
    ] {
        let script = format!("[ -e root/zero ] || {{ {make} }}; root-enter {allowed} root -- sh -c '{read}'");
        assert_eq!(said(&scene, &script), expected, "{allowed}");
    }
    // One device, bound where it is useful; without the option it would be there and do nothing.
    let script = "root-enter --bind /dev/zero:/dev/mine:dev root -- sh -c 'busybox head -c 1 /dev/mine | busybox wc -c'";
    assert_eq!(said(&scene, script), "1\n");
    let run = scene.script("root-enter --bind /dev/zero:/dev/mine root -- true").assert().code(125);
    run.stderr(
        "root-enter: bind /dev/zero: it is a device, and devices do not work in binds; \
         allow it with the option dev, as in /dev/kmsg:/dev/kmsg:dev\n",
    );
}

#[test]
fn each_option_of_a_bind_is_an_attribute_of_its_mount() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[]);
    for (bind, expected) in [
        ("--bind data:/data", "rw,nosuid,nodev"),
        ("--bind data:/data:nosuid,nodev,rec", "rw,nosuid,nodev"),
        ("--bind data:/data:suid,dev", "rw"),
        ("--bind data:/data:ro", "ro,nosuid,nodev"),
        ("--ro-bind data:/data:noexec,suid", "ro,nodev,noexec"),
        ("--suid --device-files --ro-bind data:/data", "ro"),
    ] {
        let found = options(&scene, bind, "/data");
        assert_eq!(found.trim_end().replace(",relatime", ""), expected, "{bind}");
    }
}

#[test]
fn what_is_mounted_below_comes_along_with_its_attributes_or_not_at_all() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data/below", &[("hidden", "")]);
    let look = "busybox ls /data/below; (echo > /data/below/x) 2>/dev/null && echo written";
    for (bind, expected) in [
        ("--bind data:/data", "seen\nwritten\n"),
        ("--bind data:/data:rec,ro", "seen\n"),
        ("--bind data:/data:norec,ro", "hidden\n"),
    ] {
        let mount = "mount -t tmpfs none data/below && touch data/below/seen";
        let script = format!(
            "ns-enter mnt -- bash -c '{mount} && root-enter {bind} root -- sh -c \"$0\"' '{look}; true'"
        );
        assert_eq!(said(&scene, &script), expected, "{bind}");
    }
}

#[test]
fn an_id_map_shows_one_owner_as_another_both_ways() {
    let scene = Scene::new();
    if !kernel_is_from((6, 3)) && said(&scene, "stat -f -c %T .").trim() == "tmpfs" {
        return skip("before Linux 6.3 a tmpfs takes no id map");
    }
    scene.rootfs("root");
    let data = scene.tree("data", &[("of-root", ""), ("of-user", "")]);
    chown(data.join("of-user"), Some(ORDINARY_USER), Some(ORDINARY_USER)).expect("chown");
    let map = format!("idmap=0-1000-2+{ORDINARY_USER}-0-1");
    let look = "cd /data; busybox stat -c '%u %g' of-root of-user; echo > new; (busybox chown 7 new) 2>/dev/null || echo refused";
    let script = format!("root-enter --bind data:/data:{map} root -- sh -c \"{look}\"");
    assert_eq!(said(&scene, &script), "1000 1000\n0 0\nrefused\n");
    let new = fs::metadata(data.join("new")).expect("new");
    assert_eq!((new.uid(), new.gid()), (ORDINARY_USER, ORDINARY_USER));
}

#[test]
fn an_id_map_that_cannot_be_is_told() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[]);
    let run = scene.script("root-enter --bind data:/data:idmap=0-0-2+1-5-1 root -- true").assert().code(125);
    run.stderr(
        "root-enter: bind data: set the uid_map of an id map: Invalid argument; parts of a map must not overlap\n",
    );
    let run = scene.script("root-enter --bind /proc:/data:idmap=0-1000-1 root -- true").assert().code(125);
    run.stderr(
        "root-enter: bind /proc: Invalid argument (its filesystem, or that of a mount below it, takes no id map)\n",
    );
    let run = scene.script("root-enter --bind data:/data:idmap=box root -- true").assert().code(125);
    run.stderr(
        "root-enter: bind data: idmap=box is for box-run, which has a map; write it, as in idmap=0-100000-65536\n",
    );
}

#[test]
fn a_read_only_root_holds_what_can_be_written() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    scene.tree("root/below", &[]);
    scene.tree("data", &[]);
    let look = "for dir in / /etc /below /data /made /dev/shm; do (echo > $dir/x) 2>/dev/null && echo $dir; done; echo";
    let options = "--root-ro --bind data:/data --tmpfs /made";
    let plain = format!("root-enter {options} root -- sh -c '{look}'");
    assert_eq!(said(&scene, &plain), "/data\n/made\n/dev/shm\n\n");
    // What was mounted below it before is a part of it.
    let script =
        format!("ns-enter mnt -- bash -c 'mount -t tmpfs none root/below; {}'", plain.replace('\'', "\""));
    assert_eq!(said(&scene, &script.replace("$dir", "\\$dir")), "/data\n/made\n/dev/shm\n\n");
    assert!(root.join("made").is_dir() && !root.join("x").exists());
    // It can be one already.
    let script =
        format!("mkdir root/made2; ovl-mount -l root /mnt -- {}", plain.replace("root --", "/mnt --"));
    assert_eq!(said(&scene, &script), "/data\n/made\n/dev/shm\n\n");
}

#[test]
fn the_machines_root_can_be_the_new_one_with_less_in_it() {
    let scene = Scene::new();
    let data = scene.tree("data", &[("secret", "secret\n"), ("plain", "plain\n")]);
    let dir = scene.dir().display();
    let options = format!("--mask {dir}/data/secret --remount-ro /usr --tmpfs /var --symlink here:/var/link");
    let look = format!(
        "cat {dir}/data/*; ls /var; (echo > /usr/x) 2>/dev/null || echo refused; echo box > {dir}/data/new; \
         cut -d\" \" -f5 /proc/self/mountinfo | grep -c ^/$; echo $PWD"
    );
    let script = format!("root-enter {options} / -- bash -c '{look}'");
    assert_eq!(said(&scene, &script), "plain\nlink\nrefused\n1\n/\n");
    assert_eq!(fs::read_to_string(data.join("new")).expect("new"), "box\n", "it is the host's");
    assert!(!Path::new("/var/link").exists() && !Path::new("/usr/x").exists());
    // All of it, and one that cannot be written at all.
    let script = format!(
        "root-enter --root-ro / -- bash -c 'cat {dir}/data/secret; (echo > {dir}/data/x) 2>/dev/null || echo refused'"
    );
    assert_eq!(said(&scene, &script), "secret\nrefused\n");
}
