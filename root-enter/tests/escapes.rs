//! Ways out of a new root, all of which lead nowhere.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use chain_testing::{Scene, slowness};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// All that is below a directory, with what each file holds.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(everything(&path));
        }
        found.push((path.clone(), fs::read(&path).unwrap_or_default()));
    }
    found.sort();
    found
}

/// Everything that can be put somewhere, put at a link or below one.
fn all_at(place: &str) -> Vec<Vec<String>> {
    let options = [
        "--bind data:@",
        "--bind data/file:@",
        "--ro-bind data:@/in",
        "--tmpfs @",
        "--tmpfs @/in",
        "--proc @",
        "--dev @",
        "--dev @/in",
        "--file x:@",
        "--file x:@/in",
        "--symlink x:@/in",
        "--dir @",
        "--dir @/in",
        "--dir @:mode=700",
        "--mask @",
        "--mask @/kept",
        "--remount-ro @",
        "--cgroup=@",
        "--cgroup=@/in",
    ];
    options.map(|option| option.replace('@', place).split(' ').map(str::to_owned).collect()).to_vec()
}

#[test]
fn no_link_in_the_root_takes_an_entry_out_of_it() {
    let scene = Scene::new();
    scene.tree("data", &[("file", "data\n")]);
    let outside = scene.tree("outside", &[("kept", "kept\n")]);
    fs::set_permissions(&outside, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    let before = (everything(&outside), mode(&outside));
    let up = format!("{}{}", "../".repeat(20), outside.strip_prefix("/").expect("absolute").display());
    let targets = [
        outside.clone(),
        outside.join("kept"),
        outside.join("missing"),
        up.into(),
        "../../outside".into(),
        "/proc/1/root".into(),
        // What is in the root.
        "/tmp".into(),
    ];
    let mut worked = 0;
    for (number, target) in targets.iter().enumerate() {
        let name = format!("root{number}");
        let root = scene.rootfs(&name);
        symlink(target, root.join("link")).expect("symlink");
        for options in all_at("/link") {
            // Where the link leads to in the root, if anywhere, it may well work.
            let run = scene.tool("root-enter").args(&options).args([&name, "--", "true"]).assert();
            let status = run.get_output().status.code();
            assert!(matches!(status, Some(0 | 125 | 127)), "{options:?} {target:?} {status:?}");
            worked += i32::from(status == Some(0));
            assert_eq!((everything(&outside), mode(&outside)), before, "{options:?} {target:?}");
        }
    }
    assert!(worked >= 10, "only {worked} got as far as the command");
}

#[test]
fn a_link_to_the_root_itself_is_no_place() {
    let scene = Scene::new();
    scene.tree("data", &[("file", "data\n")]);
    let root = scene.rootfs("root");
    for (number, target) in ["/", "..", "bin/.."].iter().enumerate() {
        let link = format!("/link{number}");
        symlink(target, root.join(&link[1..])).expect("symlink");
        for option in [
            "--bind data:@",
            "--tmpfs @",
            "--proc @",
            "--dev @",
            "--dir @:mode=700",
            "--mask @",
            "--remount-ro @",
        ] {
            let option = option.replace('@', &link);
            let run =
                scene.script(&format!("root-enter {option} root -- true")).assert().code(125).stdout("");
            let why = format!("{link} in the new root: a symbolic link there leads to the root itself\n");
            let said = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
            assert!(said.ends_with(&why), "{option}: {said}");
        }
        // What is below it is in the root.
        let script = format!("root-enter --ro-bind data:{link}/data root -- cat /data/file");
        scene.script(&script).assert().success().stdout("data\n");
    }
    assert_eq!(mode(&root) & 0o777, 0o755);
}

fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&fs::metadata(path).expect("there"))
}

#[test]
fn an_image_with_a_link_at_each_mount_point_changes_nothing_outside() {
    let scene = Scene::new();
    let outside =
        scene.tree("outside", &[("resolv.conf", "kept\n"), ("hosts", "kept\n"), ("hostname", "kept\n")]);
    scene.tree("outside/pts", &[("kept", "")]);
    let before = everything(&outside);
    // To what is there on the host, and by a way that leads there from anywhere.
    let up = PathBuf::from(format!(
        "{}{}",
        "../".repeat(20),
        outside.strip_prefix("/").expect("absolute").display()
    ));
    for (name, target) in [("absolute", outside.clone()), ("relative", up)] {
        let root = scene.rootfs(name);
        for dir in ["proc", "dev", "etc"] {
            fs::remove_dir(root.join(dir)).expect("rmdir");
        }
        for link in ["proc", "dev", "sys", "tmp", "run"] {
            let _ = fs::remove_dir(root.join(link));
            symlink(&target, root.join(link)).expect("symlink");
        }
        fs::create_dir(root.join("etc")).expect("mkdir");
        for file in ["resolv.conf", "hosts", "hostname"] {
            symlink(target.join(file), root.join("etc").join(file)).expect("symlink");
        }
        for options in [
            "",
            "--no-proc",
            "--no-proc --no-dev --net-files",
            "--no-proc --no-dev --cgroup",
            "--no-proc --no-dev --cgroup=/sys/fs/cgroup/x",
            "--no-proc --no-dev --sysfs /sys",
            "--no-dev --proc /proc/proc",
            "--no-proc --dev /dev/dev",
            "--no-proc --no-dev --tmpfs /run/lock",
            "--no-proc --no-dev --file x:/tmp/file",
            "--no-proc --no-dev --dir /tmp/dir",
            "--no-proc --no-dev --symlink x:/run/link",
        ] {
            let script = format!("ns-enter net -- root-enter {options} {name} -- /bin/true");
            let status = scene.script(&script).assert().get_output().status.code();
            assert!(matches!(status, Some(0 | 125)), "{name} {options}: {status:?}");
            assert_eq!(everything(&outside), before, "{name} {options}");
        }
        // Without these nothing is in the way, and what the image's own links say does not matter.
        let script = format!(
            "ns-enter uts=web -- root-enter --no-proc --no-dev --net-files {name} -- /bin/cat /etc/hostname"
        );
        scene.script(&script).assert().success().stdout("web\n");
        assert_eq!(everything(&outside), before);
    }
}

/// Ends the other thread also if this one fails.
struct Stopped<'a>(&'a AtomicBool);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_link_that_is_swapped_in_for_ten_seconds_never_leads_out() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let outside = scene.tree("outside", &[("kept", "kept\n")]);
    scene.tree("data", &[("file", "data\n")]);
    fs::create_dir(root.join("swap")).expect("mkdir");
    symlink(&outside, root.join("link")).expect("symlink");
    let before = everything(&outside);
    let stop = AtomicBool::new(false);
    let (mut worked, mut failed) = (0, 0);
    thread::scope(|threads| {
        threads.spawn(|| {
            let (swap, link) = (root.join("swap"), root.join("link"));
            while !stop.load(Ordering::Relaxed) {
                // The name is a directory or a link at every moment.
                renameat2(AT_FDCWD, &swap, AT_FDCWD, &link, RenameFlags::RENAME_EXCHANGE).expect("exchange");
            }
        });
        let _stopped = Stopped(&stop);
        let end = Instant::now() + Duration::from_secs(10) / slowness();
        let all = all_at("/swap");
        for options in all.iter().cycle().take_while(|_| Instant::now() < end) {
            let mut tool = scene.command("root-enter");
            tool.args(options).args([
                "root",
                "--",
                "sh",
                "-c",
                "echo x 2>/dev/null >/swap/from-inside; true",
            ]);
            match tool.stderr(Stdio::null()).status().expect("root-enter").code() {
                Some(0 | 127) => worked += 1,
                Some(125) => failed += 1,
                status => panic!("{options:?}: {status:?}"),
            }
            assert_eq!(everything(&outside), before, "{options:?}");
        }
    });
    assert!(worked > 0 && failed > 0, "the race was on: {worked} {failed}");
}

/// What a perl script says in a new root that is empty but for the host's /usr, read-only.
fn perl(scene: &Scene, options: &str, script: &str) -> String {
    scene.tree("empty", &[]);
    let links = "--ro-bind /usr:/usr --symlink usr/lib:/lib --symlink usr/lib64:/lib64";
    let words = format!("root-enter {links} {options} empty -- /usr/bin/perl -e \"$0\"");
    let run = scene.script(&words).arg(script).assert().success();
    String::from_utf8_lossy(&run.get_output().stdout).into_owned()
}

#[test]
fn root_cannot_leave_by_chroot() {
    let scene = Scene::new();
    // The way out of chroot(8): a root below the working directory, which is outside then.
    let script = "mkdir '/jail'; open my $top, '<', '/'; chroot '/jail' or die; chdir '..' for 1..100; \
                  chroot '.' or die; print join(' ', sort glob('/*')), qq(\\n); \
                  chdir $top; chdir '..' for 1..100; print join(' ', sort glob('*')), qq(\\n)";
    let inside = "dev jail lib lib64 proc usr\n";
    let absolute = "/dev /jail /lib /lib64 /proc /usr\n";
    assert_eq!(perl(&scene, "", script), format!("{absolute}{inside}"));
}

#[test]
fn a_directory_of_the_host_does_not_come_along_as_the_working_directory() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "pwd; echo *; cd ..; pwd; busybox readlink /proc/self/cwd";
    let script = format!("cd /usr && root-enter $OLDPWD/root -- sh -c '{look}'");
    scene.script(&script).assert().success().stdout("/\nbin dev etc proc tmp\n/\n/\n");
}

#[test]
fn no_descriptor_of_the_host_comes_along() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "for fd in /proc/self/fd/*; do case $fd in */[012]) ;; *) [ ! -d $fd/. ] || echo $fd;; esac; done; cat /proc/self/fd/8 2>/dev/null || echo none";
    let script = format!("exec 7</ 8</etc/passwd 9<.; root-enter root -- sh -c '{look}'");
    scene.script(&script).assert().success().stdout("none\n");
}

#[test]
fn the_program_file_is_one_of_the_new_root() {
    let scene = Scene::new();
    let root = scene.rootfs("root");
    let look = "busybox readlink /proc/self/exe; exec 3</proc/self/exe; exec /bin/busybox.2 sh -c 'echo x > /proc/self/fd/3'";
    fs::copy("/bin/busybox", root.join("bin/busybox.2")).expect("busybox");
    let host = fs::read("/bin/busybox").expect("busybox");
    scene.tool("root-enter").args(["root", "--", "sh", "-c", look]).assert().stdout("/bin/busybox\n");
    assert_eq!(fs::read("/bin/busybox").expect("busybox"), host);
}

#[test]
fn a_disk_of_the_machine_cannot_be_opened_though_its_file_can_be_made() {
    let scene = Scene::new();
    scene.rootfs("root");
    scene.tree("data", &[]);
    // /dev/null is the same to the kernel: it opens no device of a mount that is nodev.
    let look = "for dir in / /data /tmp /dev/shm /dev /dev/pts; do \
                    busybox mknod $dir/made c 1 3 2>/dev/null || echo $dir: not made; (echo x > $dir/made) 2>/dev/null && echo $dir; \
                done; rm -f /made; true";
    let options = ["--bind", "data:/data", "--tmpfs", "/tmp"];
    let run = scene.tool("root-enter").args(options).args(["root", "--", "sh", "-c", look]).assert();
    run.success().stdout("/dev/pts: not made\n");
}

#[test]
fn nothing_of_the_old_root_is_left_below_the_new_one() {
    let scene = Scene::new();
    scene.rootfs("root");
    let look = "while busybox umount -l / 2>/dev/null; do echo gone; [ -e /usr/bin/env ] && echo outside; [ $((n += 1)) -lt 9 ] || break; done; \
                busybox cut -d' ' -f5 /proc/self/mountinfo | busybox grep -v '^/proc/'";
    let options = ["--mask", "/etc", "--file", "x:/x", "root", "--", "sh", "-c", look];
    let run = scene.tool("root-enter").args(options).assert();
    let said = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
    assert!(!said.contains("outside"), "{said}");
    let look = "busybox cut -d' ' -f5 /proc/self/mountinfo | busybox grep -v '^/proc/\\|^/dev/[^ps]'";
    let options = ["--mask", "/etc", "--file", "x:/x", "root", "--", "sh", "-c", look];
    let run = scene.tool("root-enter").args(options).assert();
    run.success().stdout("/\n/proc\n/dev\n/dev/pts\n/dev/shm\n/etc\n/x\n");
}
