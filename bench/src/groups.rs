//! What is compared with what.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::Path,
};

use crate::{
    contest::{Added, Contestant, Group},
    inside::{Inside, own_group},
};

/// All groups. The directory `programs` has this project's programs, and those for comparison alone;
/// `rootfs` is what box-run makes boxes of.
pub(crate) fn all(programs: &Path, rootfs: &Path) -> Vec<Group> {
    vec![ns_enter(programs), cg_set(programs), cg_set_in_a_box(programs, rootfs)]
}

fn ns_enter(programs: &Path) -> Group {
    let gives = || Inside::new(&["uts", "pid", "mnt", "ipc"]);
    let of_ours = |name: &str, words: &str| line(programs.join(name).as_os_str(), words);
    let unshare = line(OsStr::new("unshare"), "-u -p -m -i -f --mount-proc");
    let nothing: [&str; 0] = [];
    Group {
        name: "ns-enter",
        what: "a command in new uts, pid, mnt and ipc namespaces, with a /proc of its own",
        command: "/bin/true",
        reference: Contestant::new("unshare", unshare, gives()),
        others: vec![
            Contestant::new("ns-enter", of_ours("ns-enter", "uts,pid,mnt,ipc --"), gives()),
            Contestant::new("floor", [programs.join("floor")], gives()),
            Contestant::new("no box", nothing, Inside::default()),
        ],
        added: Vec::new(),
    }
}

/// What is compared here is cgroup v1: the floors know nothing else.
const NO_V1: &str = "memory and pids are not on cgroup v1";

/// `mem=64M pids=50` as the kernel has it.
fn held(inside: Inside) -> Inside {
    const MIB_64: &str = "67108864";
    inside.held_to(&[
        ("memory.limit_in_bytes", MIB_64),
        ("memory.memsw.limit_in_bytes", MIB_64),
        ("pids.max", "50"),
    ])
}

/// A floor with the directories of its group, which is below the caller's own, as cg-set's is.
fn floor_with_group(program: &Path) -> Vec<OsString> {
    let dirs = ["memory", "pids"]
        .map(|controller| own_group(controller).unwrap_or_default().join("chainbox-bench").into_os_string());
    [program.into()].into_iter().chain(dirs).collect()
}

fn no_v1() -> Option<&'static str> {
    let has = |controller| own_group(controller).is_some();
    (!has("memory") || !has("pids")).then_some(NO_V1)
}

fn no_systemd() -> Option<&'static str> {
    let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    (first.trim() != "systemd").then_some("process 1 is not systemd")
}

fn cg_set(programs: &Path) -> Group {
    let gives = || held(Inside::default());
    // As it is typed at a shell. These groups are named from the root of the trees. One cgdelete of 2.0.2
    // leaves the second of two directories that are named alike.
    let cgroup_tools = "cgcreate -g memory,pids:chainbox-bench && \
                        cgset -r memory.limit_in_bytes=64M -r memory.memsw.limit_in_bytes=64M -r pids.max=50 chainbox-bench && \
                        cgexec -g memory,pids:chainbox-bench \"$@\"; \
                        status=$?; cgdelete -g memory:chainbox-bench -g pids:/chainbox-bench; exit $status";
    let nothing: [&str; 0] = [];
    let systemd = "--scope --quiet -p MemoryMax=64M -p MemorySwapMax=0 -p TasksMax=50";
    Group {
        name: "cg-set",
        what: "a command in a group of its own, with at most 64 MiB and 50 processes, which goes with it",
        command: "/bin/true",
        reference: Contestant::new("cgroup-tools", ["sh", "-c", cgroup_tools, "sh"], gives()).unless(no_v1()),
        others: vec![
            Contestant::new("systemd-run", line(OsStr::new("systemd-run"), systemd), gives())
                .unless(no_systemd()),
            Contestant::new(
                "cg-set",
                line(programs.join("cg-set").as_os_str(), "mem=64M pids=50 --"),
                gives(),
            ),
            Contestant::new("floor", floor_with_group(&programs.join("floor-group")), gives()),
            Contestant::new("no box", nothing, Inside::default()),
        ],
        added: Vec::new(),
    }
}

fn cg_set_in_a_box(programs: &Path, rootfs: &Path) -> Group {
    let gives = || Inside::new(&["uts", "pid", "mnt", "ipc"]);
    let program = |name: &str| programs.join(name).into_os_string();
    let words = |first: OsString, words: &str| line(&first, words);
    let ns_enter = words(program("ns-enter"), "uts,pid,mnt,ipc --");
    let chain = [words(program("cg-set"), "mem=64M pids=50 --"), ns_enter.clone()].concat();
    let box_run = |limits: &[&str]| {
        // The question is asked of /sys.
        let mut words = words(program("box-run"), "--bind /sys:/sys --root");
        words.push(rootfs.into());
        words.extend(limits.iter().chain(&["--"]).map(Into::into));
        words
    };
    let added = |what, by| Added { what, by, reference: ["floor, group", "floor"] };
    Group {
        name: "cg-set-in-a-box",
        what: "what that group adds to a box of new uts, pid, mnt and ipc namespaces",
        command: "/bin/true",
        reference: Contestant::new("floor", [programs.join("floor")], gives()).unless(no_v1()),
        others: vec![
            Contestant::new(
                "floor, group",
                floor_with_group(&programs.join("floor-box-group")),
                held(gives()),
            ),
            Contestant::new("chain", ns_enter, gives()),
            Contestant::new("chain, group", chain, held(gives())),
            Contestant::new("box-run", box_run(&[]), gives()),
            Contestant::new("box-run, group", box_run(&["--mem", "64M", "--pids", "50"]), held(gives())),
        ],
        added: vec![
            added("the group in the chain, of the floor's", ["chain, group", "chain"]),
            added("the group in box-run, of the floor's", ["box-run, group", "box-run"]),
        ],
    }
}

/// A program and the words after it, none of which has a space.
fn line(program: &OsStr, words: &str) -> Vec<OsString> {
    [program.to_owned()].into_iter().chain(words.split(' ').map(Into::into)).collect()
}
