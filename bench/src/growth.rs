//! How the cost of a box grows with what there is more of.

use std::{ffi::OsString, path::Path};

use crate::{
    contest::{Contestant, Group},
    groups::{BARE, line},
    inside::Inside,
    stage::Need,
};

/// The groups, each compared with the least of what grows in it.
pub(crate) fn all(programs: &Path, rootfs: &Path) -> Vec<Group> {
    vec![
        links(programs),
        layers(programs, rootfs),
        binds(programs, rootfs),
        groups_there(programs),
        mounts(programs, rootfs),
        at_once(programs, rootfs),
        thousand(programs, rootfs),
    ]
}

fn whole() -> Inside {
    Inside::new(&["uts", "pid", "mnt", "ipc"])
}

/// A group of the same with more and more of something.
fn growing(
    name: &'static str,
    what: &'static str,
    points: impl IntoIterator<Item = Contestant>,
    needs: Vec<Need>,
    slower: usize,
) -> Group {
    let mut points = points.into_iter();
    Group {
        name,
        what,
        command: "/bin/true",
        reference: points.next().unwrap_or_else(|| unreachable!("there is a least one")),
        others: points.collect(),
        added: Vec::new(),
        needs,
        slower,
    }
}

fn counted(count: usize, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

fn links(programs: &Path) -> Group {
    let link = || line(programs.join("ns-enter").as_os_str(), "uts --");
    let chain = |count| (0..count).flat_map(|_| link()).collect::<Vec<_>>();
    let point = |count| Contestant::new(counted(count, "link"), chain(count), Inside::new(&["uts"]));
    growing("links", "a chain of so many links, each a new uts namespace", (1..=6).map(point), Vec::new(), 1)
}

/// box-run with no more than is needed here.
fn box_run(programs: &Path) -> Vec<OsString> {
    line(programs.join("box-run").as_os_str(), BARE)
}

fn layers(programs: &Path, rootfs: &Path) -> Group {
    const MOST: usize = 500;
    let dir = programs.join("many-layers");
    let point = |count: usize| {
        let mut words = box_run(programs);
        let empty = (1..count).map(|number| dir.join(number.to_string()).into_os_string());
        words.extend(empty.chain([rootfs.into()]).flat_map(|lower| ["--lower".into(), lower]));
        words.extend(["--tmp", "--"].map(Into::into));
        Contestant::new(counted(count, "layer"), words, whole())
    };
    let points = [1, 10, 100, MOST].map(point);
    let needs = vec![Need::Directories { dir: dir.clone(), count: MOST }];
    growing("layers", "a box whose root is an overlay of so many layers", points, needs, 3)
}

fn binds(programs: &Path, rootfs: &Path) -> Group {
    let point = |count: usize| {
        let mut words = box_run(programs);
        words.extend(["--root".into(), rootfs.into(), "--tmp".into()]);
        words
            .extend((0..count).flat_map(|number| ["--ro-bind".into(), format!("/usr:/mnt/{number}").into()]));
        words.push("--".into());
        Contestant::new(counted(count, "bind"), words, whole())
    };
    growing("binds", "a box with so many binds", [1, 10, 100, 1000].map(point), Vec::new(), 3)
}

fn groups_there(programs: &Path) -> Group {
    let name = |count: usize| format!("chainbox-bench-{count}");
    let counts = [0, 1000, 10_000];
    let point = |count: usize| {
        let words =
            line(programs.join("cg-set").as_os_str(), &format!("--parent {} pids=50 --", name(count)));
        Contestant::new(counted(count, "group"), words, Inside::default().held_to(&[("pids.max", "50")]))
            .unless(crate::groups::no_v1())
    };
    let needs = counts.map(|count| Need::Groups { name: name(count), count }).to_vec();
    growing("groups", "a command in a group beside so many others", counts.map(point), needs, 1)
}

fn mounts(programs: &Path, rootfs: &Path) -> Group {
    let link = |count: usize| programs.join(format!("mounts-{count}"));
    let counts = [0, 1000, 10_000];
    let point = |count: usize| {
        let mut words =
            line(programs.join("ns-enter").as_os_str(), &format!("mnt@{} --", link(count).display()));
        words.extend(box_run(programs));
        words.extend(["--root".into(), rootfs.into(), "--".into()]);
        Contestant::new(counted(count, "mount"), words, whole())
    };
    let needs = counts.map(|count| Need::Mounts { link: link(count), count }).to_vec();
    let what = "a box made where so many mounts more are, of which its mount namespace is a copy at first";
    growing("mounts", what, counts.map(point), needs, 3)
}

/// Boxes that a shell starts, with what each of them costs.
fn crowd(name: impl Into<String>, boxes: usize, together: usize, words: &[OsString]) -> Contestant {
    let script = format!("seq {boxes} | xargs -P {together} -I @ \"$@\"");
    let shell = ["sh".into(), "-c".into(), script.into(), "sh".into()];
    Contestant::new(name, shell.into_iter().chain(words.iter().cloned()), Inside::default()).of_many(boxes)
}

fn safe_box(programs: &Path, rootfs: &Path) -> Vec<OsString> {
    let mut words =
        line(programs.join("box-run").as_os_str(), "--mem 64M --pids 50 --tmp --allow-host-root --root");
    words.extend([rootfs.into(), "--".into()]);
    words
}

fn at_once(programs: &Path, rootfs: &Path) -> Group {
    let words = safe_box(programs, rootfs);
    let point = |count: usize| crowd(format!("{count} at once"), count.max(10), count, &words);
    let what = "one of so many boxes that a shell starts at once, at least ten in all";
    growing("at-once", what, [1, 2, 10, 100, 1000].map(point), Vec::new(), 30)
}

fn thousand(programs: &Path, rootfs: &Path) -> Group {
    let mut bwrap = line("bwrap".as_ref(), "--unshare-all --die-with-parent --ro-bind");
    bwrap.extend([rootfs.into(), "/".into()]);
    bwrap.extend(line("--proc".as_ref(), "/proc --dev /dev"));
    let mut bare = box_run(programs);
    bare.extend(["--mem", "64M", "--tmp", "--root"].map(Into::into));
    bare.extend([rootfs.into(), "--".into()]);
    let points = [
        crowd("bwrap, without limits and overlay", 1000, 4, &bwrap),
        crowd("box-run", 1000, 4, &bare),
        crowd("box-run, safe", 1000, 4, &safe_box(programs, rootfs)),
    ];
    growing("thousand", "one of 1000 boxes that xargs -P 4 starts", points, Vec::new(), 30)
}
