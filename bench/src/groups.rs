//! What is compared with what.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use crate::{
    contest::{Contestant, Group},
    inside::Inside,
};

/// All groups. The directory `programs` has this project's programs, and those for comparison alone.
pub(crate) fn all(programs: &Path) -> Vec<Group> {
    vec![ns_enter(programs)]
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
    }
}

/// A program and the words after it, none of which has a space.
fn line(program: &OsStr, words: &str) -> Vec<OsString> {
    [program.to_owned()].into_iter().chain(words.split(' ').map(Into::into)).collect()
}
