//! What is compared with what.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::Path,
};

use crate::{
    contest::{Added, Contestant, Group},
    growth,
    inside::{Inside, own_group},
    stage::Need,
};

/// All groups. The directory `programs` has this project's programs, and those for comparison alone;
/// `rootfs` is what box-run makes boxes of, and `programs/layers` has the same in [`LAYERS`].
pub(crate) fn all(programs: &Path, rootfs: &Path) -> Vec<Group> {
    let mut groups = vec![
        ns_enter(programs),
        one_namespace(programs),
        join(programs),
        cg_set(programs),
        cg_set_in_a_box(programs, rootfs),
        overlay(programs, rootfs),
        root_enter(programs, rootfs),
        priv_drop(programs),
        ovl_diff(programs),
        new_root(programs),
        whole(programs, rootfs),
    ];
    groups.extend(growth::all(programs, rootfs));
    groups
}

/// The parts of a root filesystem, which is an overlay or put together from binds.
const LAYERS: [&str; 5] = ["bin", "etc", "usr", "var", "root"];

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
        needs: Vec::new(),
        slower: 1,
    }
}

/// What is one call for the other tool too.
fn one_namespace(programs: &Path) -> Group {
    let gives = || Inside::new(&["uts"]);
    Group {
        name: "one-namespace",
        what: "a command in a new uts namespace",
        command: "/bin/true",
        reference: Contestant::new("unshare", line(OsStr::new("unshare"), "-u"), gives()),
        others: vec![Contestant::new(
            "ns-enter",
            line(programs.join("ns-enter").as_os_str(), "uts --"),
            gives(),
        )],
        added: Vec::new(),
        needs: Vec::new(),
        slower: 1,
    }
}

/// What is there already.
fn join(programs: &Path) -> Group {
    let link = programs.join("joined");
    let gives = || Inside::new(&["mnt"]);
    let ours = line(programs.join("ns-enter").as_os_str(), &format!("mnt@{} --", link.display()));
    let theirs = line(OsStr::new("nsenter"), &format!("--mount={} --", link.display()));
    Group {
        name: "join",
        what: "a command in the mount namespace of another process",
        command: "/bin/true",
        reference: Contestant::new("nsenter", theirs, gives()),
        others: vec![Contestant::new("ns-enter", ours, gives())],
        added: Vec::new(),
        needs: vec![Need::Mounts { link, count: 0 }],
        slower: 1,
    }
}

/// An overlay that the command alone sees.
fn overlay(programs: &Path, rootfs: &Path) -> Group {
    let gives = || Inside::new(&["mnt"]);
    let mut ours = line(programs.join("ovl-mount").as_os_str(), "--tmp -l");
    ours.extend([rootfs.into(), "/mnt".into(), "--".into()]);
    let script = format!(
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work && \
         mount -t overlay overlay -o lowerdir={},upperdir=/mnt/upper,workdir=/mnt/work,volatile /mnt && exec \"$@\"",
        rootfs.display()
    );
    let mut theirs = line(OsStr::new("unshare"), "-m sh -c");
    theirs.extend([script.into(), "sh".into()]);
    Group {
        name: "overlay",
        what: "a command that alone sees an overlay with changes in memory",
        command: "/bin/true",
        reference: Contestant::new("unshare, mkdir, mount", theirs, gives()),
        others: vec![Contestant::new("ovl-mount", ours, gives())],
        added: Vec::new(),
        needs: Vec::new(),
        slower: 1,
    }
}

/// Another root, with nothing new in it.
fn root_enter(programs: &Path, rootfs: &Path) -> Group {
    let mut ours = line(
        programs.join("root-enter").as_os_str(),
        "--no-proc --no-dev --bind /proc:/proc --bind /sys:/sys",
    );
    ours.extend([rootfs.into(), "--".into()]);
    let script = format!(
        "mount --rbind /proc {0}/proc && mount --rbind /sys {0}/sys && exec chroot {0} \"$@\"",
        rootfs.display()
    );
    let mut theirs = line(OsStr::new("unshare"), "-m sh -c");
    theirs.extend([script.into(), "sh".into()]);
    let gives = || Inside::new(&["mnt"]);
    Group {
        name: "root-enter",
        what: "a command with another root that has the machine's /proc and /sys",
        command: "/bin/true",
        reference: Contestant::new("unshare, mount, chroot", theirs, gives()),
        others: vec![Contestant::new("root-enter", ours, gives())],
        added: Vec::new(),
        needs: Vec::new(),
        slower: 1,
    }
}

/// A command without privileges; what it is without is not asked for.
fn priv_drop(programs: &Path) -> Group {
    let setpriv =
        "--reuid 65534 --regid 65534 --clear-groups --no-new-privs --inh-caps -all --bounding-set -all";
    // It always runs bash.
    let capsh = [
        "capsh",
        "--drop=all",
        "--gid=65534",
        "--uid=65534",
        "--no-new-privs",
        "--",
        "-c",
        "exec \"$0\" \"$@\"",
    ];
    let ours = |words: &str| line(programs.join("priv-drop").as_os_str(), words);
    Group {
        name: "priv-drop",
        what: "a command of user 65534, without groups, capabilities, and ways to get any",
        command: "/bin/true",
        reference: Contestant::new("setpriv", line(OsStr::new("setpriv"), setpriv), Inside::default()),
        others: vec![
            Contestant::new("capsh, bash", capsh, Inside::default()),
            Contestant::new("priv-drop", ours("--user 65534 --no-new-privs --"), Inside::default()),
            Contestant::new(
                "priv-drop, with a filter",
                ours("--user 65534 --seccomp default --"),
                Inside::default(),
            ),
        ],
        added: Vec::new(),
        needs: Vec::new(),
        slower: 1,
    }
}

/// How fast the changes in a large upper directory are read.
fn ovl_diff(programs: &Path) -> Group {
    const FILES: usize = 100_000;
    let upper = programs.join("large-upper");
    let reads = |program: &OsStr, words: &str| {
        let script = format!("\"$0\" {} {words} >/dev/null; exec \"$1\"", upper.display());
        ["sh".into(), "-c".into(), script.into(), program.to_owned()]
    };
    // The command comes after it, as in other groups.
    let ours = reads(programs.join("ovl-diff").as_os_str(), "");
    // Each file is looked at, which for its kind alone find does not do.
    let theirs = reads(OsStr::new("find"), r"-printf '%y %s %T@ %P\n'");
    Group {
        name: "ovl-diff",
        what: "a list of the 100,000 files in an upper directory",
        command: "/bin/true",
        reference: Contestant::new("find -printf", theirs, Inside::default()),
        others: vec![Contestant::new("ovl-diff", ours, Inside::default())],
        added: Vec::new(),
        needs: vec![Need::Files { dir: upper.clone(), count: FILES }],
        slower: 30,
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

pub(crate) fn no_v1() -> Option<&'static str> {
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
        needs: Vec::new(),
        slower: 1,
    }
}

/// What makes of box-run's box one that has no more than the others here.
pub(crate) const BARE: &str = "--pids max --allow-host-root --allow-net --allow-cgroup --no-init --caps all --seccomp none --allow-new-privs --allow-env";

fn cg_set_in_a_box(programs: &Path, rootfs: &Path) -> Group {
    let gives = || Inside::new(&["uts", "pid", "mnt", "ipc"]);
    let program = |name: &str| programs.join(name).into_os_string();
    let words = |first: OsString, words: &str| line(&first, words);
    let ns_enter = words(program("ns-enter"), "uts,pid,mnt,ipc --");
    let chain = [words(program("cg-set"), "mem=64M pids=50 --"), ns_enter.clone()].concat();
    let box_run = |limits: &[&str]| {
        // The question is asked of /sys.
        let mut words = words(program("box-run"), BARE);
        words.retain(|word| limits.is_empty() || !["--pids", "max"].iter().any(|limit| word == limit));
        words.extend(line(OsStr::new("--bind"), "/sys:/sys --root"));
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
        needs: Vec::new(),
        slower: 1,
    }
}

fn new_root(programs: &Path) -> Group {
    let gives = || Inside::new(&["uts", "pid", "mnt", "ipc"]);
    let layers = programs.join("layers");
    let mut bwrap = line(OsStr::new("bwrap"), "--as-pid-1 --unshare-uts --unshare-pid --unshare-ipc");
    for part in LAYERS {
        let place = format!("/{part}").into();
        bwrap.extend(["--ro-bind".into(), layers.join(part).join(part).into(), place]);
    }
    bwrap.extend(["--proc", "/proc", "--dev", "/dev"].map(Into::into));
    let lowers = || LAYERS.iter().map(|part| layers.join(part).into_os_string());
    let mut box_run = line(programs.join("box-run").as_os_str(), BARE);
    box_run.extend(lowers().flat_map(|lower| ["--lower".into(), lower]));
    box_run.extend(["--tmp", "--"].map(Into::into));
    let mut chain = line(programs.join("ns-enter").as_os_str(), "uts,pid,ipc --");
    chain.push(programs.join("ovl-mount").into());
    chain.extend(lowers().flat_map(|lower| ["-l".into(), lower]));
    chain.extend(["--tmp", "/mnt", "--"].map(Into::into));
    chain.extend(line(programs.join("root-enter").as_os_str(), "/mnt --"));
    Group {
        name: "new-root",
        what: "a command in new uts, pid, mnt and ipc namespaces with a root of five parts, its own /proc and /dev",
        command: "/bin/true",
        reference: Contestant::new("bwrap, binds", bwrap, gives()),
        others: vec![
            Contestant::new("box-run, overlay", box_run, gives()),
            Contestant::new("chain, overlay", chain, gives()),
        ],
        added: Vec::new(),
        needs: Vec::new(),
        slower: 1,
    }
}

/// A whole box in each tool's words.
fn whole(programs: &Path, rootfs: &Path) -> Group {
    let gives = || Inside::new(&["uts", "pid", "mnt", "ipc"]);
    let program = |name: &str| programs.join(name).into_os_string();
    let same = "--mem 64M --pids 50 --allow-host-root --allow-net --allow-cgroup --no-init --caps all --seccomp none --allow-new-privs --allow-env \
                --tmp --bind /sys:/sys --proc-full --suid --device-files";
    let in_a_box = |words: &str| {
        [line(&program("box-run"), words), vec!["--root".into(), rootfs.into(), "--".into()]].concat()
    };
    let mut chain = line(&program("cg-set"), "mem=64M pids=50 --");
    chain.extend(line(&program("ns-enter"), "uts,pid,ipc --"));
    chain.extend(line(&program("ovl-mount"), "--tmp -l"));
    chain.push(rootfs.into());
    chain.extend(["/mnt", "--"].map(Into::into));
    chain.extend(line(&program("root-enter"), "--proc-full --suid --device-files --bind /sys:/sys /mnt --"));
    let mut bwrap =
        line(OsStr::new("bwrap"), "--as-pid-1 --unshare-uts --unshare-pid --unshare-ipc --ro-bind");
    bwrap.extend([rootfs.into(), "/".into()]);
    bwrap.extend(line(OsStr::new("--bind"), "/sys /sys --proc /proc --dev /dev"));
    let floor = floor_with_group(&programs.join("floor-whole"));
    // What is put together from the usual tools.
    let by_shell = format!(
        "cgcreate -g memory,pids:chainbox-bench && \
         cgset -r memory.limit_in_bytes=64M -r memory.memsw.limit_in_bytes=64M -r pids.max=50 chainbox-bench && \
         cgexec -g memory,pids:chainbox-bench unshare -u -p -m -i -f sh -c 'mount -t tmpfs tmpfs /mnt && cd /mnt && \
         mkdir upper work root && mount -t overlay overlay -o lowerdir={},upperdir=upper,workdir=work root && cd root && \
         mount -t proc proc proc && mount -t tmpfs tmpfs dev && mount --rbind /sys sys && exec chroot . \"$@\"' sh \"$@\"; \
         status=$?; cgdelete -g memory:chainbox-bench -g pids:/chainbox-bench; exit $status",
        rootfs.display()
    );
    Group {
        name: "whole",
        what: "a box of new uts, pid, mnt and ipc namespaces, an overlay with changes in memory as its root, its own /proc and \
               /dev, and a group of 64M and 50 processes",
        command: "/bin/true",
        reference: Contestant::new("floor", floor, held(gives())).unless(no_v1()),
        others: vec![
            Contestant::new("box-run", in_a_box(same), held(gives())),
            Contestant::new(
                "box-run, safe",
                // The question is about process 1, and about groups by the names that they have outside.
                in_a_box(
                    "--mem 64M --pids 50 --tmp --allow-host-root --bind /sys:/sys --no-init --allow-cgroup",
                ),
                held(Inside::new(&["uts", "pid", "mnt", "ipc", "net"])),
            ),
            Contestant::new("chain", chain, held(gives())),
            Contestant::new("bwrap, without limits and overlay", bwrap, gives()),
            Contestant::new("a shell's", ["sh", "-c", &by_shell, "sh"], held(gives())).unless(no_v1()),
            Contestant::new("crun, started by sh", [program("crun-box")], held(gives())),
            Contestant::new("runc, started by sh", [program("runc-box")], held(gives())),
            Contestant::new("podman, started by sh", [program("podman-box")], held(gives())),
        ],
        added: Vec::new(),
        needs: Vec::new(),
        slower: 1,
    }
}

/// A program and the words after it, none of which has a space.
pub(crate) fn line(program: &OsStr, words: &str) -> Vec<OsString> {
    [program.to_owned()].into_iter().chain(words.split(' ').map(Into::into)).collect()
}
