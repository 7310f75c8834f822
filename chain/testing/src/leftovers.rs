//! What a tool could leave behind: groups, mounts, network interfaces, processes.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftovers {
    things: BTreeSet<String>,
}

impl Leftovers {
    /// Counts everything; `mark` is in the environment of the processes that the test starts.
    pub fn now(mark: &str) -> Self {
        let mut things = BTreeSet::new();
        things.extend(
            directories(Path::new("/sys/fs/cgroup"))
                .into_iter()
                .map(|dir| format!("group {}", dir.display())),
        );
        things.extend(mounts().into_iter().map(|mount| format!("mount {mount}")));
        things.extend(names(Path::new("/sys/class/net")).into_iter().map(|name| format!("interface {name}")));
        things.extend(processes(mark).into_iter().map(|process| format!("process {process}")));
        Self { things }
    }

    /// What there is now that was not there `before`.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.things.difference(&before.things).cloned().collect()
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    below.flat_map(|entry| [vec![entry.path()], directories(&entry.path())].concat()).collect()
}

/// Root, place and options of each mount: ids are given again, so they are left out.
fn mounts() -> Vec<String> {
    let info = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    info.lines().map(|line| line.split(' ').skip(2).collect::<Vec<_>>().join(" ")).collect()
}

/// The processes that have `mark` in their environment, but for this one.
fn marked(mark: &str) -> impl Iterator<Item = u32> {
    let others = names(Path::new("/proc")).into_iter().filter_map(|name| name.parse().ok());
    others.filter(move |pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        *pid != std::process::id() && environment.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
    })
}

fn processes(mark: &str) -> Vec<String> {
    let described = |pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} {}", String::from_utf8_lossy(&command).replace('\0', " "))
    };
    marked(mark).map(described).collect()
}

/// Ends what a test that fails or hangs has started.
pub(crate) fn kill_marked(mark: &str) {
    for pid in marked(mark) {
        let _ = kill(Pid::from_raw(pid.try_into().expect("pid")), Signal::SIGKILL);
    }
}
