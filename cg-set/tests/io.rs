//! `io.read=`, `io.write=`, `io.riops=`, `io.wiops=` and `io.weight=`, on the disk of the VM or on a loop
//! device.

use std::{fs, path::Path, process::Command};

use chain_testing::{Scene, on_v2};

use common::{NAME, SHOWN};

mod common;

/// A disk that a test may write to. It must go before the scene.
struct Disk {
    path: String,
    number: String,
    is_loop: bool,
}

impl Disk {
    /// That of the VM, which has it by this serial number, or else a loop device.
    fn new(scene: &Scene) -> Self {
        let disks = fs::read_dir("/sys/block").expect("sysfs").flatten();
        let is_ours =
            |dir: &Path| fs::read_to_string(dir.join("serial")).is_ok_and(|text| text == "chainbox");
        match disks.map(|disk| disk.path()).find(|dir| is_ours(dir)) {
            Some(dir) => Self::named(dir.file_name().expect("name").to_str().expect("UTF-8"), false),
            None => Self::on_a_file(scene),
        }
    }

    fn on_a_file(scene: &Scene) -> Self {
        let file = tempfile_in(scene);
        let made = Command::new("losetup").args(["--find", "--show", "--partscan", &file]).output();
        let made = made.expect("losetup");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let path = String::from_utf8(made.stdout).expect("UTF-8");
        Self::named(path.trim().trim_start_matches("/dev/"), true)
    }

    fn named(name: &str, is_loop: bool) -> Self {
        let number = fs::read_to_string(format!("/sys/block/{name}/dev")).expect("a disk");
        Self { path: format!("/dev/{name}"), number: number.trim().to_owned(), is_loop }
    }

    fn set_scheduler(&self, name: &str) {
        fs::write(format!("/sys/dev/block/{}/queue/scheduler", self.number), name).expect("scheduler");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::write(format!("/sys/dev/block/{}/queue/scheduler", self.number), "none");
        if self.is_loop {
            let _ = Command::new("losetup").args(["--detach", &self.path]).status();
        }
    }
}

fn tempfile_in(scene: &Scene) -> String {
    let file = scene.path("disk");
    fs::File::create(&file).and_then(|file| file.set_len(64 << 20)).expect("a sparse file");
    file.to_str().expect("UTF-8").to_owned()
}

/// How many `unit` a second dd moves so many of, by its own clock.
fn rate(scene: &Scene, setting: Option<&str>, unit: f64, dd: &str) -> f64 {
    let limit = setting.map_or(String::new(), |setting| format!("cg-set {setting} --"));
    let script = format!("LC_ALL=C {limit} dd {dd} 2>&1");
    let run = scene.script(&script).assert().success();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let number = |text: &str| text.trim().parse::<f64>().expect("a number");
    let last = said.lines().last().expect("dd's report");
    let bytes = number(last.split(' ').next().expect("bytes"));
    let seconds = number(last.split(", ").find_map(|part| part.strip_suffix(" s")).expect("seconds"));
    bytes / unit / seconds
}

/// It is held to what was asked for, and faster without.
fn is_held(scene: &Scene, setting: &str, limit: f64, unit: f64, dd: &str) {
    let free = rate(scene, None, unit, dd);
    assert!(free > 2.0 * limit, "{free} without a limit: too slow to tell");
    let held = rate(scene, Some(setting), unit, dd);
    assert!((0.8 * limit..=1.2 * limit).contains(&held), "{setting}: {held} instead of {limit}");
}

#[test]
fn writes_are_held_within_a_fifth() {
    let scene = Scene::new();
    let disk = Disk::new(&scene);
    let dd = format!("if=/dev/zero of={} bs=64K count=128 oflag=direct", disk.path);
    is_held(&scene, &format!("io.write={}:2M", disk.path), 2.0, 1_048_576.0, &dd);
}

#[test]
fn reads_are_held_within_a_fifth() {
    let scene = Scene::new();
    let disk = Disk::new(&scene);
    let dd = format!("if={} of=/dev/null bs=64K count=128 iflag=direct", disk.path);
    is_held(&scene, &format!("io.read={}:2M", disk.number), 2.0, 1_048_576.0, &dd);
}

#[test]
fn operations_are_held_within_a_fifth() {
    let scene = Scene::new();
    let disk = Disk::new(&scene);
    let write = format!("if=/dev/zero of={} bs=4K count=120 oflag=direct", disk.path);
    is_held(&scene, &format!("io.wiops={}:40", disk.path), 40.0, 4096.0, &write);
    let read = format!("if={} of=/dev/null bs=4K count=120 iflag=direct", disk.path);
    is_held(&scene, &format!("io.riops={}:40", disk.path), 40.0, 4096.0, &read);
}

#[test]
fn what_is_set_is_what_the_group_has() {
    let scene = Scene::new();
    let disk = Disk::new(&scene);
    let other = Disk::on_a_file(&scene);
    let (first, second) = (&disk.number, &other.number);
    let script = format!(
        "{SHOWN}; set -e; trap 'cg-set --name {NAME} --remove' EXIT; \
         cg-set --name {NAME} io.read={}:50M io.write={first}:1M,{}:1000 io.riops={first}:100 io.wiops={first}:4294967294; \
         shown {NAME}; echo; cg-set --name {NAME} io.read={first}:max io.write={first}:max; shown {NAME}",
        disk.path, other.path
    );
    let run = scene.script(&script).assert().success().stderr("");
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    // The kernel gives the devices in an order of its own.
    let both = [format!("{first}:1M,{second}:1000"), format!("{second}:1000,{first}:1M")];
    let kept = |both: &String| {
        output
            == format!(
                "io.read={first}:50M\nio.write={both}\nio.riops={first}:100\nio.wiops={first}:4294967294\n\n\
                 io.write={second}:1000\nio.riops={first}:100\nio.wiops={first}:4294967294\n"
            )
    };
    assert!(both.iter().any(kept), "{output}");
}

#[test]
fn a_partition_stands_for_its_disk() {
    let scene = Scene::new();
    let disk = Disk::on_a_file(&scene);
    let script = format!(
        "{SHOWN}; addpart {0} 1 2048 2048 && cg-set -n io.write={0}p1:1M -- true; \
         cg-set --name {NAME} io.write={0}p1:1M && shown {NAME}; cg-set --name {NAME} --remove; \
         cg-set io.write={0}:1M,{0}p1:2M -- echo ran",
        disk.path
    );
    let run = scene.script(&script).assert().code(125);
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(output.ends_with(&format!("io.write={}:1M\n", disk.number)), "{output}");
    run.stderr(format!(
        "cg-set: io.write={0}:1M,{0}p1:2M: {1} is given twice; a disk, its partitions and what is on it are one\n",
        disk.path, disk.number
    ));
}

#[test]
fn a_file_stands_for_the_disk_that_it_is_on() {
    let scene = Scene::new();
    let disk = Disk::new(&scene);
    // The mount is gone with its namespace.
    let inner = format!(
        "mkdir disk.d; mke2fs -q -F {} && mount {0} disk.d && touch disk.d/a:b && \
         cg-set --name {NAME} io.write=disk.d/a:b:1M && shown {NAME} && \
         cg-set io.write=disk.d:2M -- dd if=/dev/zero of=disk.d/f bs=64K count=128 $FLAG 2>&1 | tail -n1",
        disk.path
    );
    let script =
        format!("{SHOWN}; export -f shown; unshare --mount bash -c '{inner}'; cg-set --name {NAME} --remove");
    // On v2 what is written later, out of memory, is the group's too.
    let flag = if on_v2() { "conv=fsync" } else { "oflag=direct" };
    let run = scene.script(&script).env("FLAG", flag).env("LC_ALL", "C").assert().success();
    let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    let (shown, said) = output.split_at(output.find("8388608 bytes").expect("dd's report"));
    assert_eq!(shown, format!("io.write={}:1M\n", disk.number));
    let seconds = said.split(", ").find_map(|part| part.strip_suffix(" s")).expect("seconds");
    let rate = 8.0 / seconds.parse::<f64>().expect("a number");
    assert!((1.6..=2.4).contains(&rate), "{rate} MiB a second instead of 2");
}

#[test]
fn what_is_no_disk_is_refused_before_anything_is_made() {
    let scene = Scene::new();
    let refused = |value: &str, why: &str| {
        for words in [&["-n"][..], &[], &["--name", NAME]] {
            let setting = format!("io.write={value}");
            let run = scene.tool("cg-set").args(words).args([&setting, "--", "echo", "ran"]).assert();
            run.code(125).stdout("").stderr(format!("cg-set: {setting}: {why}\n"));
        }
    };
    refused("9999:0:1M", "9999:0: there is no such block device; lsblk shows those that there are");
    refused("./none:1M", "./none: No such file or directory");
    refused("/dev/null:1M", "/dev/null: a character device; only block devices have these limits");
    refused(
        "/proc:1M",
        "/proc: it is on a filesystem that is not on one block device (proc); \
         name the device itself, such as /dev/sda or 8:0",
    );
    scene.script(&format!("cg-set --name {NAME}")).assert().code(125);
}

#[test]
fn a_weight_is_kept_by_whatever_gives_shares() {
    let scene = Scene::new();
    let disk = Disk::new(&scene);
    let number = &disk.number;
    disk.set_scheduler("bfq");
    let files = if on_v2() { "io.weight io.bfq.weight" } else { "blkio.bfq.weight blkio.bfq.weight_device" };
    let read = format!("cd $(group {}); cat {files}", if on_v2() { "io" } else { "blkio" });
    let settings = format!("io.weight=200,{}:50", disk.path);
    let run = scene.tool("cg-set").args([&settings, "--", "bash", "-c", &read]).assert().success();
    run.stderr("").stdout(if on_v2() {
        format!("default 200\ndefault 109\n{number} 50\n")
    } else {
        format!("109\ndefault 109\n{number} 50\n")
    });
    let script =
        format!("{SHOWN}; cg-set --name {NAME} {settings} && shown {NAME}; cg-set --name {NAME} --remove");
    // bfq has fewer weights.
    let all = if on_v2() { 200 } else { 199 };
    let run = scene.script(&script).assert().success().stderr("");
    run.stdout(format!("io.weight={all},{number}:50\n"));
    disk.set_scheduler("none");
    let run =
        scene.script(&format!("cg-set io.weight={number}:50 -- echo ran")).assert().code(125).stdout("");
    let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
    assert!(said.ends_with(&format!("echo bfq > /sys/dev/block/{number}/queue/scheduler\n")), "{said}");
}

#[test]
fn a_change_that_fails_half_way_leaves_what_was_there() {
    let scene = Scene::new();
    let disk = Disk::new(&scene);
    disk.set_scheduler("bfq");
    let number = &disk.number;
    let script = format!(
        "{SHOWN}; cg-set --name {NAME} io.read={number}:1M io.weight=50,{number}:60; \
         cg-set --name {NAME} io.read={number}:2M io.wiops={number}:100 io.weight=70 io.no_such_file=1 && echo changed; \
         shown {NAME}; cg-set --name {NAME} --remove"
    );
    let run = scene.script(&script).assert().success();
    run.stdout(format!("io.read={number}:1M\nio.weight=50,{number}:60\n"));
}
