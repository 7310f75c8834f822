//! What can be put into a new root besides binds, in the order in which it is typed.

use std::{fs, os::unix::fs::symlink, path::Path};

use chain_testing::{Scene, skip};

/// What a script for sh says behind a new root with these options.
fn inside(scene: &Scene, options: &[&str], script: &str) -> String {
    let run =
        scene.tool("root-enter").args(options).args(["root", "--", "sh", "-c", script]).assert().success();
    String::from_utf8_lossy(&run.get_output().stdout).into_owned()
}

#[test]
fn a_tmpfs_has_the_size_and_the_mode_that_were_asked_for() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let look = "busybox stat -c '%a' /small /plain; busybox df -k /small | busybox awk 'END { print $2 }'; \
                busybox dd if=/dev/zero of=/small/file bs=1M count=2 2>/dev/null; busybox stat -c %s /small/file";
    let said = inside(&scene, &["--tmpfs", "/small:size=1M,mode=700", "--tmpfs", "/plain"], look);
    assert_eq!(said, "700\n1777\n1024\n1048576\n");
    assert_eq!(fs::read_dir(root.join("small")).expect("the mount point").count(), 0);
}

#[test]
fn later_entries_lie_in_earlier_ones_and_hide_them() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[("file", "data\n")]);
    let options =
        ["--ro-bind", "data:/in/side", "--tmpfs", "/in", "--dir", "/in/made", "--file", "x\n:/in/made/file"];
    assert_eq!(
        inside(&scene, &options, "cd /in; echo *; cat made/file; echo > new && echo *"),
        "made\nx\nmade new\n"
    );
    let options = ["--tmpfs", "/in", "--ro-bind", "data:/in/side"];
    assert_eq!(inside(&scene, &options, "cd /in; echo *; cat side/file"), "side\ndata\n");
}

#[test]
fn a_file_has_its_text_and_its_mode_and_is_not_left_in_the_root() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    fs::write(root.join("etc/motd"), "of the root\n").expect("write");
    let options = [
        "--file",
        "a\\:b\\\\c\n:/etc/motd",
        "--file",
        "\\@x:/at:mode=600,ro",
        "--file",
        ":/etc/empty:mode=4755",
    ];
    let look = "cat /etc/motd /at; busybox stat -c '%a %s' /etc/motd /at /etc/empty; \
                echo changed > /etc/motd; cat /etc/motd; (echo > /at) 2>/dev/null || echo refused";
    assert_eq!(inside(&scene, &options, look), "a:b\\c\n@x644 6\n600 2\n4755 0\nchanged\nrefused\n");
    assert_eq!(fs::read_to_string(root.join("etc/motd")).expect("motd"), "of the root\n");
    assert_eq!(fs::metadata(root.join("at")).expect("the mount point").len(), 0);
}

#[test]
fn a_link_is_made_once_and_nothing_else_is_replaced_by_one() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    for _ in 0..2 {
        let options = ["--symlink", "usr/lib:/lib", "--symlink", "/nowhere at all:/usr/lib/link"];
        assert_eq!(
            inside(&scene, &options, "busybox readlink /lib; busybox readlink /lib/link"),
            "usr/lib\n/nowhere at all\n"
        );
    }
    assert_eq!(fs::read_link(root.join("lib")).expect("link"), Path::new("usr/lib"));
    for place in ["/lib", "/etc", "/bin/busybox"] {
        let link = format!("other:{place}");
        let run =
            scene.tool("root-enter").args(["--symlink", &link, "root", "--", "true"]).assert().code(125);
        run.stderr(format!(
            "root-enter: make link {place} in the new root: File exists; something else is there\n"
        ));
    }
}

#[test]
fn a_directory_is_made_with_all_above_it_and_gets_the_mode_that_is_named() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let look = "busybox stat -c %a /a /a/b /etc /tmp";
    let options = ["--dir", "/a/b:mode=1711", "--dir", "/etc:mode=700", "--dir", "/tmp"];
    assert_eq!(inside(&scene, &options, look), "755\n1711\n700\n755\n");
    assert!(root.join("a/b").is_dir(), "it stays");
}

#[test]
fn what_is_masked_is_empty_and_cannot_be_written() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    scene.tree("root/secrets", &[("key", "secret\n")]);
    fs::write(root.join("etc/shadow"), "secret\n").expect("write");
    symlink("/secrets/key", root.join("link")).expect("symlink");
    let look = "cat /etc/shadow /link; busybox ls -A /secrets; busybox stat -c %a /etc/shadow /secrets; \
                (echo > /etc/shadow) 2>/dev/null || echo refused; busybox mkdir /secrets/x 2>/dev/null || echo refused";
    let said = inside(&scene, &["--mask", "/etc/shadow", "--mask", "/link", "--mask", "/secrets"], look);
    assert_eq!(said, "444\n555\nrefused\nrefused\n");
    assert_eq!(fs::read_to_string(root.join("secrets/key")).expect("key"), "secret\n");
    let run = scene.tool("root-enter").args(["--mask", "/secret", "root", "--", "true"]).assert().code(125);
    run.stderr("root-enter: /secret in the new root: No such file or directory\n");
}

#[test]
fn what_is_made_read_only_is_so_with_all_below_it_and_not_beside() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[]);
    let options =
        ["--bind", "data:/a/data", "--tmpfs", "/a/tmp", "--remount-ro", "/a", "--remount-ro", "/bin/busybox"];
    let look = "for dir in /a /a/data /a/tmp /tmp; do (echo > $dir/x) 2>/dev/null && echo $dir; done; \
                (echo > /bin/busybox) 2>&1 | busybox grep -o Read-only";
    assert_eq!(inside(&scene, &options, look), "/tmp\nRead-only\n");
    // Of what is a mount no other one is put on top.
    let options = ["--bind", "data:/a/data", "--remount-ro", "/a/data"];
    let look =
        "busybox grep -c ' /a/data ' /proc/self/mountinfo; (echo > /a/data/x) 2>/dev/null || echo refused";
    assert_eq!(inside(&scene, &options, look), "1\nrefused\n");
    assert_eq!(fs::read_dir(scene.path("data")).expect("data").count(), 0);
}

/// What the machine has of these in /proc.
fn there<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| Path::new("/proc").join(name).exists()).collect()
}

#[test]
fn proc_hides_what_is_the_machines_unless_it_is_asked_for() {
    let scene = Scene::new();
    scene.rootfs("root");
    let files = there(&["interrupts", "kcore", "keys", "timer_list"]).join(" ");
    let dirs = there(&["acpi", "scsi"]).join(" ");
    let fixed = there(&["bus", "fs", "irq", "sys"]).join(" ");
    assert!(!files.is_empty() && fixed.contains("sys"), "nothing to test with");
    let look = format!(
        "cd $0; busybox head -c 10 {files} | busybox grep -v '^==>\\|^$'; for dir in {dirs}; do busybox ls -A $dir; done; \
         for name in {fixed}; do busybox grep \" $0/$name ro,\" /proc/self/mountinfo | busybox wc -l; done; \
         (echo 1 > sys/kernel/panic_on_oops) 2>/dev/null || echo refused; [ -e self/status ] && echo proc"
    );
    let expected = "1\n".repeat(fixed.split(' ').count()) + "refused\nproc\n";
    let run = |options: &[&str], place: &str| {
        let mut tool = scene.tool("root-enter");
        tool.args(options).args(["root", "--", "sh", "-c", &look, place]);
        String::from_utf8_lossy(&tool.assert().success().get_output().stdout).into_owned()
    };
    assert_eq!(run(&[], "/proc"), expected);
    assert_eq!(run(&["--proc", "/p", "--symlink", "p:/proc2", "--proc", "/proc"], "/p"), expected);

    let look = "busybox cut -d' ' -f5 /proc/self/mountinfo | busybox grep -c ^/proc; busybox head -c 1 /proc/interrupts | busybox wc -c; \
                value=$(cat /proc/sys/kernel/panic_on_oops); echo $value > /proc/sys/kernel/panic_on_oops && echo written";
    assert_eq!(inside(&scene, &["--proc-full"], look), "1\n1\nwritten\n");
}

#[test]
fn a_proc_and_a_dev_are_where_they_were_asked_for_or_nowhere() {
    let scene = Scene::new();
    scene.rootfs("root");
    let places = "busybox cut -d' ' -f5 /p/self/mountinfo | busybox grep -v '^/p/\\|^/d/[^ps]'; echo x > /d/null; echo $(busybox ls /proc /dev)";
    let said = inside(&scene, &["--proc", "/p", "--dev", "/d"], places);
    assert_eq!(said, "/\n/p\n/d\n/d/pts\n/d/shm\n/dev: /proc:\n");
    assert_eq!(inside(&scene, &["--no-proc", "--no-dev"], "echo $(busybox ls /proc /dev)"), "/dev: /proc:\n");
}

#[test]
fn dev_can_hold_more_but_a_device_that_is_made_there_does_not_work() {
    let scene = Scene::new();
    scene.rootfs("root");
    let options = ["--bind", "/dev/null:/dev/other:dev", "--dir", "/dev/dir", "--symlink", "null:/dev/link"];
    let look = "echo x > /dev/other && echo x > /dev/link && busybox ls -d /dev/dir; echo x > /dev/file && cat /dev/file; \
                busybox mknod /dev/made c 1 3; (echo x > /dev/made) 2>/dev/null || echo refused";
    assert_eq!(inside(&scene, &options, look), "/dev/dir\nx\nrefused\n");
}

#[test]
fn sysfs_shows_the_boxs_own_network_or_is_refused() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "echo $(busybox ls /sys/class/net); (echo > /sys/power/state) 2>&1 | busybox grep -o Read-only; \
                busybox ls /sys/fs/cgroup | busybox wc -l";
    for tools in [
        "ns-enter net -- root-enter --sysfs /sys root",
        "ns-enter net,pid,mnt -- root-enter --sysfs /sys root",
        "ns-enter user,net,pid,mnt -- root-enter --sysfs /sys root",
    ] {
        scene
            .script(&format!("{tools} -- sh -c \"$0\" \"$@\""))
            .arg(look)
            .assert()
            .success()
            .stdout("lo\nRead-only\n0\n");
    }
    // Of the same kernel, so what is on the host is what is to be hidden.
    if !Path::new("/proc/sys/net/core/netdev_budget").exists() {
        return skip("this is not the machine's first network namespace");
    }
    scene.rootfs("untouched");
    for tools in ["root-enter", "ns-enter uts -- root-enter", "ns-enter pid,mnt -- root-enter"] {
        let run = scene.script(&format!("{tools} --sysfs /sys untouched -- true")).assert().code(125);
        run.stderr(
            "root-enter: --sysfs: it would show the network devices of the machine; \
             make a network namespace: ns-enter net, or as box-run does without --allow-net\n",
        );
    }
    assert!(!scene.path("untouched/sys").exists(), "it is refused before anything is made");
}

#[test]
fn net_files_are_the_hosts_whatever_is_at_their_places() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let (resolv, hosts) = ("/etc/resolv.conf", "/etc/hosts");
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let expected = format!("{}{}web\n", text(resolv), text(hosts));
    let look = "cat /etc/resolv.conf /etc/hosts /etc/hostname; (echo >> /etc/hosts) 2>/dev/null && echo written; true";
    let script = "ns-enter uts=web -- root-enter --net-files root -- sh -c \"$0\"";
    scene.script(script).arg(look).assert().success().stdout(expected.clone());

    // As in an image whose resolver is systemd's, and in a hostile one.
    let outside = scene.tree("outside", &[("hosts", "kept\n")]);
    for (name, target) in
        [("resolv.conf", "../run/systemd/resolve/stub-resolv.conf".into()), ("hosts", outside.join("hosts"))]
    {
        fs::remove_file(root.join("etc").join(name)).expect("the mount point");
        symlink(target, root.join("etc").join(name)).expect("symlink");
    }
    scene.script(script).arg(look).assert().success().stdout(expected);
    assert_eq!(text(outside.join("hosts").to_str().expect("path")), "kept\n");
}

#[test]
fn a_net_file_that_is_mounted_changes_as_it_does_outside() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree(".", &[("hosts", "before\n")]);
    let mut run = scene.script(
        r#"mkfifo go; exec ns-enter mnt -- bash -c 'mount --bind hosts /etc/hosts
           exec 3< <(exec root-enter --net-files root -- sh -c "
               cat /etc/hosts; read -r go; cat /etc/hosts; (echo x >/etc/hosts) 2>/dev/null || echo read-only" <go)
           exec 4>go; read -r <&3; echo "$REPLY"; echo after >hosts; echo >&4; cat <&3; cat hosts'"#,
    );
    run.assert().success().stderr("").stdout("before\nafter\nread-only\nafter\n");
}

#[test]
fn the_command_begins_with_the_umask_and_the_directory_that_were_asked_for() {
    let scene = Scene::new();
    scene.rootfs("root");
    assert_eq!(
        inside(&scene, &["--umask", "027", "--chdir", "/tmp"], "umask; pwd; echo > x; busybox stat -c %a x"),
        "0027\n/tmp\n640\n"
    );
    let run = scene.tool("root-enter").args(["--chdir", "/missing", "root", "--", "true"]).assert().code(125);
    run.stderr("root-enter: go to /missing in the new root: No such file or directory\n");
}
