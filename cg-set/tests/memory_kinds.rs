//! `mem=4M` holds for memory of every kind: the peak that the kernel has counted is read from outside.

use std::{path::Path, time::Instant};

use chain_testing::{Scene, slowness};

const MIB: u64 = 1 << 20;

/// How a script ended in a group of 4 MiB, and what is told of it.
#[derive(Debug)]
struct Run {
    status: String,
    /// What the script printed, and cg-set said.
    output: String,
    /// The most memory and swap that the group had at once, in bytes.
    peak: u64,
}

impl Run {
    /// In a named group, which is there to be asked afterwards. All that is to end for its memory offers
    /// itself, so that the kernel need not choose.
    fn new(scene: &Scene, before: &str, script: &str) -> Self {
        let around = format!(
            "cg-set --name chainbox-test mem=4M || exit; own=$(group memory)/chainbox-test; \
             cg-set --name chainbox-test -- {before} bash -c 'echo 1000 >/proc/self/oom_score_adj; {script}' 2>&1; \
             echo status: $?; echo peak: $(cat $own/memory.memsw.max_usage_in_bytes $own/memory.peak 2>/dev/null); \
             cg-set --name chainbox-test --remove --kill"
        );
        let run = scene.script(&around).assert().success();
        let output = String::from_utf8_lossy(&run.get_output().stdout).into_owned();
        // What runs on in the group may say something between these.
        let tagged =
            |tag: &str| output.lines().find_map(|line| line.strip_prefix(tag)).expect("a line").to_owned();
        let (status, peak) = (tagged("status: "), tagged("peak: ").parse().expect("bytes"));
        let lines =
            output.lines().filter(|line| !line.starts_with("status: ") && !line.starts_with("peak: "));
        Self { status, output: lines.collect::<Vec<_>>().join("\n"), peak }
    }

    /// Somebody was killed, cg-set says so, the script was kept from its end, and the limit held.
    #[track_caller]
    fn was_stopped(&self) {
        assert!(self.output.contains("cg-set: mem=4M: "), "{self:#?}");
        assert!(self.output.contains(" was killed for passing it; raise mem="), "{self:#?}");
        assert!(!self.output.contains("passed"), "{self:#?}");
        assert!((2 * MIB..=4 * MIB).contains(&self.peak), "{self:#?}");
    }
}

#[test]
fn of_its_own_and_within_a_second() {
    let scene = Scene::new();
    let run = Run::new(&scene, "", "exec tail /dev/zero");
    run.was_stopped();
    assert_eq!(run.status, "137", "{run:#?}");
    // The best of some: others use the machine too.
    let time = || {
        let start = Instant::now();
        scene.tool("cg-set").args(["mem=4M", "--", "tail", "/dev/zero"]).assert().interrupted();
        start.elapsed()
    };
    let best = (0..5).map(|_| time()).min().expect("some");
    assert!(best.as_secs() < u64::from(slowness()), "{best:?}");
}

#[test]
fn in_a_tmpfs() {
    let scene = Scene::new();
    let run = Run::new(
        &scene,
        "ns-enter mnt --",
        "mkdir there; mount -t tmpfs none there; head -c 50M /dev/zero >there/file && echo passed",
    );
    run.was_stopped();
}

#[test]
fn in_the_buffers_of_pipes() {
    let scene = Scene::new();
    // 64 KiB in each (pipe(7), "Pipe capacity").
    let script = "for pipe in {1..200}; do \
                      mkfifo $pipe; exec {end}<>$pipe; head -c 64K /dev/zero >&$end || exit; \
                  done; echo passed";
    Run::new(&scene, "", script).was_stopped();
}

#[test]
fn spread_over_a_tree_of_processes() {
    let scene = Scene::new();
    // Each has so much for itself besides what it shares with the one above.
    let script = "deep() { \
                      local held; [ $1 != 0 ] || { echo passed; return; }; \
                      printf -v held %200000s; (deep $(($1 - 1))) \
                  }; deep 60";
    Run::new(&scene, "", script).was_stopped();
}

/// Files that are read and written are kept in memory only as long as there is room.
#[test]
fn in_the_cache_of_files_it_is_given_back() {
    let scene = Scene::new();
    // Who reads a file first is charged for it, so nobody may have it in memory.
    let forget = "file=$(type -p box-run); sync $file; dd if=$file iflag=nocache count=0 status=none; \
                  stat -c %s $file";
    let size = scene.script(forget).assert().success();
    let size: u64 = String::from_utf8_lossy(&size.get_output().stdout).trim().parse().expect("bytes");
    assert!(size > 8 * MIB, "{size} bytes are too few");
    let mut scripts = vec!["dd if=$(type -p box-run) of=/dev/null bs=64K status=none && echo passed"];
    // In the virtual machine all that is written is in a tmpfs.
    if !is_in_memory(scene.dir()) {
        // Each piece goes to the disk at once: v1 does not hold who writes until there is room.
        scripts.push("dd if=/dev/zero of=file bs=256K count=80 oflag=dsync status=none && echo passed");
    }
    for script in scripts {
        let run = Run::new(&scene, "", script);
        assert_eq!((run.status.as_str(), run.output.as_str()), ("0", "passed"), "{run:#?}");
        assert!((2 * MIB..=4 * MIB).contains(&run.peak), "{run:#?}");
    }
}

fn is_in_memory(dir: &Path) -> bool {
    nix::sys::statfs::statfs(dir).expect("statfs").filesystem_type() == nix::sys::statfs::TMPFS_MAGIC
}
