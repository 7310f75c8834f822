//! The new root: what is in it, and that nothing else is.

use chain_testing::Scene;

#[test]
fn only_the_new_root_its_proc_and_its_dev_are_mounted() {
    let scene = Scene::new();
    scene.rootfs("root");
    let run = scene.tool("root-enter").args(["root", "--", "cat", "/proc/self/mountinfo"]).assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let places: Vec<_> = output.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    assert_eq!(places, ["/", "/proc", "/dev", "/dev/pts", "/dev/shm"]);
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
    run.stderr("root-enter: new mnt namespace: Operation not permitted; run as root\n");
}
