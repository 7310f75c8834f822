//! Boxes that sleep: what each takes of memory, and what one more costs beside them.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    contest::race,
    report::{GroupReport, Line, Outcome},
};

/// The groups of this file by name.
pub(crate) const NAMES: [&str; 2] = ["alive", "memory"];
const MANY: usize = 1000;

/// Boxes that sleep until this is dropped.
struct Sleepers(Vec<Child>);

impl Sleepers {
    /// Starts them, each when the one before it is there.
    fn start(words: &[&str], count: usize) -> io::Result<Self> {
        let mut sleepers = Self(Vec::with_capacity(count));
        for _ in 0..count {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).args(["/bin/sh", "-c", "echo; exec sleep 100000"]);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
            let out = child.stdout.take().map(BufReader::new);
            sleepers.0.push(child);
            let mut word = String::new();
            if out.map(|mut out| out.read_line(&mut word)).transpose()? != Some(1) {
                return Err(io::Error::other(format!("{} does not run here", words[0])));
            }
        }
        Ok(sleepers)
    }

    /// A number of bytes of each of those who wait for a box, in KiB.
    fn kib(&self, field: &str) -> io::Result<Vec<f64>> {
        self.0.iter().map(|child| memory(child.id(), field)).collect()
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &self.0 {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// From smaps_rollup (proc_pid_smaps(5)).
fn memory(pid: u32, field: &str) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = text.lines().find_map(|line| {
        let rest = line.strip_prefix(field)?.strip_prefix(':')?;
        rest.trim().trim_end_matches(" kB").parse().ok()
    });
    kib.ok_or_else(|| io::Error::other(format!("no {field} of process {pid}")))
}

/// The reports of the groups whose names are `wanted`.
pub(crate) fn measure(
    programs: &Path,
    rootfs: &Path,
    rounds: usize,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<GroupReport>, String> {
    let (box_run, rootfs) = (programs.join("box-run").display().to_string(), rootfs.display().to_string());
    let ours = [&box_run, "--allow-host-root", "--mem", "64M", "--tmp", "--root", &rootfs, "--"];
    let theirs = [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--ro-bind",
        &rootfs,
        "/",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ];
    let mut reports = Vec::new();
    if wanted("alive") {
        reports.push(alive(&ours, rounds).map_err(|error| format!("alive: {error}"))?);
    }
    if wanted("memory") {
        reports.extend(memories(&ours, &theirs).map_err(|error| format!("memory: {error}"))?);
    }
    Ok(reports)
}

/// Half of the rounds of the box alone come before those beside the others, half after.
fn alive(ours: &[&str], rounds: usize) -> io::Result<GroupReport> {
    let command = || {
        let mut command = Command::new(ours[0]);
        command.args(&ours[1..]).arg("/bin/true");
        command
    };
    let times = |rounds| race(vec![command()], rounds).map(|mut times| times.remove(0));
    let half = rounds / 2;
    let mut alone = times(half)?;
    let beside = {
        let _sleepers = Sleepers::start(ours, MANY)?;
        times(half * 2)?
    };
    alone.extend(times(half)?);
    let names = ["none alive".to_owned(), format!("{MANY} alive")];
    Ok(report(
        "alive",
        "a box beside so many that sleep",
        "us",
        names,
        [shown(ours), shown(ours)],
        &[alone, beside],
    ))
}

fn memories(ours: &[&str], theirs: &[&str]) -> io::Result<Vec<GroupReport>> {
    const FIELDS: [(&str, &str, &str); 3] = [
        (
            "memory, Pss",
            "what each of 1000 that wait for a sleeping box takes, its part of what is shared",
            "Pss",
        ),
        ("memory, anonymous", "the same of what is no file", "Anonymous"),
        ("memory, private", "the same of what nobody else has, changed", "Private_Dirty"),
    ];
    let of = |words: &[&str]| -> io::Result<Vec<Vec<f64>>> {
        let sleepers = Sleepers::start(words, MANY)?;
        FIELDS.iter().map(|(.., field)| sleepers.kib(field)).collect()
    };
    let (theirs_all, ours_all) = (of(theirs)?, of(ours)?);
    let reports =
        FIELDS.iter().zip(theirs_all.into_iter().zip(ours_all)).map(|((name, what, _), (one, two))| {
            let names = ["bwrap".to_owned(), "box-run, safe".to_owned()];
            report(name, what, "KiB", names, [shown(theirs), shown(ours)], &[one, two])
        });
    Ok(reports.collect())
}

fn shown(words: &[&str]) -> String {
    shell_words::join(words)
}

fn report(
    name: &'static str,
    what: &'static str,
    unit: &'static str,
    names: [String; 2],
    commands: [String; 2],
    values: &[Vec<f64>; 2],
) -> GroupReport {
    let reference = names[0].clone();
    let lines = names.into_iter().zip(commands).zip(values);
    let contestants = lines
        .map(|((name, command), own)| Line { name, command, result: Outcome::of(own, &values[0]) })
        .collect();
    GroupReport { name, what, unit, reference, contestants, added: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_sleep_are_counted_and_end() {
        let sleepers = Sleepers::start(&["env"], 3).expect("env runs it");
        let pids: Vec<_> = sleepers.0.iter().map(Child::id).collect();
        assert!(sleepers.kib("Pss").expect("they live").iter().all(|kib| *kib > 0.0));
        drop(sleepers);
        assert!(pids.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
        assert!(Sleepers::start(&["false"], 1).is_err());
    }
}
