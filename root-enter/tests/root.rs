//! The new root: what is in it, and that nothing else is.

use chain_testing::{Holder, Scene};

#[test]
fn only_the_new_root_its_proc_and_its_dev_are_mounted() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = scene.tool("root-enter").args(["root", "--", "cat", "/proc/self/mountinfo"]).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let places = output.lines().filter_map(|line| line.split(' ').nth(4));
    // What is masked in /proc differs from kernel to kernel.
    let places: Vec<_> = places.filter(|place| !place.starts_with("/proc/")).collect();
    let devices = ["null", "zero", "full", "random", "urandom", "tty"].map(|name| format!("/dev/{name}"));
    let devices: Vec<_> = devices.iter().map(String::as_str).collect();
    assert_eq!(places, [&["/", "/proc", "/dev"], &devices[..], &["/dev/pts", "/dev/shm"]].concat());
}

#[test]
fn the_command_begins_at_the_root_and_cannot_see_the_hosts_files() {
    let scene = Scene::new();
    scene.rootfs("root");
    let script = "echo $PWD; echo /*; ls /etc | busybox wc -l; cd /..; echo *";
    let run = scene.tool("root-enter").args(["root", "--", "sh", "-c", script]).assert();
    run.stdout("/\n/bin /dev /etc /proc /tmp\n0\nbin dev etc proc tmp\n");
}

#[test]
fn what_a_box_writes_below_dev_is_bounded() {
    let scene = Scene::new();
    scene.rootfs("root");
    let fill = "for dir in /dev /dev/shm; do busybox dd if=/dev/zero of=$dir/big bs=1M count=100 2>/dev/null; \
                busybox stat -c %s $dir/big; busybox rm $dir/big; done";
    let sizes = |options: &str| -> Vec<u64> {
        let run = scene.script(&format!("root-enter {options} root -- sh -c '{fill}'")).assert().success();
        let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
        said.lines().map(|line| line.parse().expect("a size")).collect()
    };
    let usual = sizes("");
    assert!(usual.len() == 2 && usual.iter().all(|size| (60 << 20..=64 << 20).contains(size)), "{usual:?}");
    assert_eq!(sizes("--tmpfs /dev/shm:size=80M")[1], 80 << 20);
}

#[test]
fn dev_is_minimal_and_works() {
    let scene = Scene::new();
    scene.rootfs("root");
    let script = "cd /dev; echo *; busybox head -c 3 zero | busybox wc -c; busybox head -c 3 urandom | busybox wc -c; \
                  echo x > null; echo x 2>/dev/null > full || echo full; echo in | cat stdin; \
                  busybox stat -c %a shm pts pts/ptmx; busybox readlink ptmx";
    let run = scene.tool("root-enter").args(["root", "--", "sh", "-c", script]).assert().success();
    run.stdout(
        "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero\n3\n3\nfull\nin\n1777\n755\n666\npts/ptmx\n",
    );
}

#[test]
fn the_command_is_looked_up_in_the_new_root() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tool("root-enter").args(["root", "--", "bash"]).assert().code(127);
    let run = scene.tool("root-enter").args(["root", "--", "/etc"]).assert().code(126);
    run.stderr("root-enter: run /etc: Permission denied (it is a directory)\n");
}

#[test]
fn a_dynamic_program_without_its_loader_is_explained() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    std::fs::copy("/bin/true", root.join("bin/dynamic")).expect("copy");
    let run = scene.tool("root-enter").args(["root", "--", "dynamic"]).assert().code(126);
    run.stderr(
        "root-enter: run dynamic: No such file or directory (its dynamic loader is missing); \
         link it statically or add its libraries\n",
    );
}

#[test]
fn the_place_where_an_overlay_was_just_mounted_is_entered_by_any_of_its_names() {
    let scene = Scene::new();
    scene.rootfs("root");
    for (directory, name) in [(".", "root"), ("root", "."), ("root/bin", "..")] {
        let script = format!(
            "cd {directory} && ovl-mount -l {name} --tmp {name} -- root-enter {name} -- sh -c 'echo > /new && echo /new'"
        );
        scene.script(&script).assert().success().stdout("/new\n");
        assert!(!scene.path("root/new").exists());
    }
}

#[test]
fn an_ordinary_user_is_told_what_is_needed() {
    let scene = Scene::new();
    let run = scene.script_as_user("root-enter /mnt -- echo ran").assert().code(125).stdout("");
    run.stderr(
        "root-enter: new mnt namespace: Operation not permitted; run as root, or behind ns-enter user,mnt,pid --\n",
    );
    scene.rootfs("root");
    let run = scene
        .script_as_user("ns-enter user,mnt -- root-enter root -- echo ran")
        .assert()
        .code(125)
        .stdout("");
    run.stderr(
        "root-enter: mount proc: Operation not permitted; add pid: ns-enter user,mnt,pid --, or --no-proc; \
         in a box, its own /proc must be whole\n",
    );
    for line in ["ns-enter user,mnt,pid -- root-enter", "ns-enter user,mnt -- root-enter --no-proc"] {
        scene
            .script_as_user(&format!("{line} root -- echo ran"))
            .assert()
            .success()
            .stdout("ran\n")
            .stderr("");
    }
}

#[test]
fn an_ordinary_user_has_the_hosts_devices() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "for dev in null zero full random urandom tty; do busybox stat -c \"%n %t %T\" /dev/$dev; done; \
                echo >/dev/null; busybox head -c 1 /dev/zero | busybox wc -c; busybox ls /dev/pts /dev/shm";
    let script = format!("ns-enter user,pid -- root-enter root -- sh -c '{look}'");
    let devices =
        "/dev/null 1 3\n/dev/zero 1 5\n/dev/full 1 7\n/dev/random 1 8\n/dev/urandom 1 9\n/dev/tty 5 0\n";
    let run = scene.script_as_user(&script).assert().success().stderr("");
    run.stdout(format!("{devices}1\n/dev/pts:\nptmx\n\n/dev/shm:\n"));
}

#[test]
fn the_working_directory_is_no_link_of_proc() {
    let scene = Scene::new();
    scene.rootfs("root");
    for link in ["/proc/self/cwd", "/proc/self/root", "/proc/self/fd/3", "/proc/1/root"] {
        let run = scene.script(&format!("root-enter --chdir {link} root -- echo ran")).assert().code(125);
        let error = String::from_utf8_lossy(&run.stdout("").get_output().stderr).into_owned();
        assert!(error.starts_with(&format!("root-enter: go to {link} in the new root: ")), "{error}");
    }
}

#[test]
fn the_root_of_another_mount_namespace_is_not_taken_for_the_own_one() {
    let scene = Scene::new();
    scene.tree("place", &[]);
    let holder = Holder::running(
        &scene,
        "exec ns-enter mnt -- bash -c 'mount -t tmpfs none place; echo ready; read line'",
    );
    for path in [String::new(), scene.path("place").display().to_string()] {
        let root = format!("/proc/{}/root{path}", holder.pid);
        let run = scene.tool("root-enter").args([&root, "--", "true"]).assert().code(125);
        run.stderr(format!(
            "root-enter: root {root}: Invalid argument; it must be of the mount namespace that the caller is in\n"
        ));
    }
}
