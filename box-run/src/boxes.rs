//! Boxes that have a name: what says that they are there, and the commands that are about them.
//!
//! All that is kept is a pid file (`ns-enter --pid-file`), so nothing runs in the background and nothing can be
//! half done: a box is there as long as its supervisor has the lock on its file. A file whose box was killed tells of
//! none.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use chain::{
    Doing, Error, Job, Launch, Link, Links, Operands, Options, Remedy, Result, Span,
    table::{Column, Table},
};
use clap::Parser;
use nix::{errno::Errno, fcntl::OFlag, time::ClockId, unistd::geteuid};
use ns_enter::{Namespaces, NsEnter, PidFile};
use priv_drop::{Caps, PrivDrop, Rlimit, Seccomp, Settings};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::Serialize;

use crate::links::absolute;

const PREFIX: &str = "chainbox-";
const SUFFIX: &str = ".pid";
/// What a pid file is at most.
const LARGEST: u64 = 16;

/// The name of a box: 1 to 64 letters, digits, and `.`, `_`, `-` but at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let begins_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        (is_plain && begins_well && text.len() <= 64)
            .then(|| Self(text.into()))
            .ok_or("not a name; write 1 to 64 letters, digits, dots, dashes and underscores")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// Its pid file. It is in a directory that only the user writes, and that is empty after a start of the machine.
    pub(crate) fn file(&self) -> Result<PathBuf> {
        Ok(dir()?.join(format!("{PREFIX}{self}{SUFFIX}")))
    }

    /// Fails if a box of this name is there.
    pub(crate) fn check_free(&self) -> Result<()> {
        match find(self)? {
            Some(found) => Err(Error::new(
                format!("--name {self}"),
                format!("such a box is there, as process {}", found.pid),
            )
            .hint(format!("end it with box-run stop {self}, or take another name"))),
            None => Ok(()),
        }
    }

    fn of(file: &OsStr) -> Option<Self> {
        file.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()
    }
}

fn dir() -> Result<PathBuf> {
    if geteuid().is_root() {
        return Ok("/run".into());
    }
    absolute("XDG_RUNTIME_DIR").ok_or_else(|| {
        Error::new("names of boxes", "there is no XDG_RUNTIME_DIR to keep them in")
            .hint("log in, or set it to a directory of your own")
    })
}

/// A box that is there.
#[derive(Debug)]
struct Found {
    pid: i32,
    process: OwnedFd,
}

/// Looks for a box of this name. `None` too if what has the name is nobody's pid file.
fn find(name: &Name) -> Result<Option<Found>> {
    let path = name.file()?;
    let doing = || path.display().to_string();
    let Some(file) = open(&path).doing(doing)? else { return Ok(None) };
    if file.metadata().doing(doing)?.uid() != geteuid().as_raw() {
        return Err(Error::new(doing(), "it is not the caller's"));
    }
    let holder = || PidFile::holder(&file).doing(doing);
    let Some(supervisor) = holder()? else { return Ok(None) };
    let mut text = String::new();
    (&file).take(LARGEST).read_to_string(&mut text).doing(doing)?;
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(None) };
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
    let pid = pid.as_raw_nonzero().get();
    // The number may be another process's by now, but not one of the same supervisor, which makes no other.
    let parent = status_of(pid, "PPid").and_then(|parent| parent.parse().ok());
    let is_it = parent == Some(supervisor) && !has_ended(&process) && holder()? == Some(supervisor);
    Ok(is_it.then_some(Found { pid, process }))
}

/// A regular file; of anything else nothing is waited for and nothing is read.
fn open(path: &Path) -> std::io::Result<Option<File>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => return Ok(None),
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}

/// For how long a process runs: its start is the 22nd field of proc_pid_stat(5), in hundredths of a second.
fn running_for(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let now = Duration::from(ClockId::CLOCK_BOOTTIME.now().ok()?);
    Some(now.saturating_sub(Duration::from_millis(ticks * 10)))
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&rustix::event::Timespec::default())).is_ok_and(|ready| ready > 0)
}

fn all() -> Result<Vec<(Name, Found)>> {
    let dir = dir()?;
    let mut names: Vec<_> = fs::read_dir(&dir)
        .doing(|| dir.display().to_string())?
        .filter_map(|entry| Name::of(&entry.ok()?.file_name()))
        .collect();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    // What cannot be looked at is not the caller's box.
    Ok(names.into_iter().filter_map(|name| find(&name).ok().flatten().map(|found| (name, found))).collect())
}

fn running(name: &Name) -> Result<Found> {
    find(name)?.ok_or_else(|| {
        Error::new(name.to_string(), "there is no box of this name")
            .hint("box-run ps lists those that there are")
    })
}

/// The commands about boxes, by their first word.
pub(crate) fn job(words: &[OsString]) -> Result<Option<Job>> {
    let Some(command) = words.get(1).and_then(|word| word.to_str()) else { return Ok(None) };
    let (name, rest) = (format!("box-run {command}"), words[2..].iter().cloned());
    let job = match command {
        "ps" => chain::parse(&name, rest)?.map(|ps: Ps| Job::Do(Box::new(move || ps.list()))),
        "exec" => chain::parse(&name, rest)?.map(Exec::job).transpose()?,
        "stop" => chain::parse(&name, rest)?.map(|stop: Stop| Job::Do(Box::new(move || stop.stop()))),
        _ => return Ok(None),
    };
    // Only help was asked for.
    Ok(Some(job.unwrap_or_else(|| Job::Do(Box::new(|| Ok(()))))))
}

/// List the boxes that have a name
#[derive(Debug, Parser)]
#[command(name = "box-run ps")]
struct Ps {
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    name: String,
    pid: i32,
    running_usec: u64,
    command: Vec<String>,
}

impl Ps {
    fn list(&self) -> Result<()> {
        let lines: Vec<_> = all()?
            .into_iter()
            .map(|(name, found)| Line {
                name: name.0,
                pid: found.pid,
                running_usec: running_for(found.pid)
                    .unwrap_or_default()
                    .as_micros()
                    .try_into()
                    .unwrap_or(u64::MAX),
                command: command_of(found.pid),
            })
            .collect();
        if self.json {
            return chain::print(&chain::json(&lines)?).map(drop);
        }
        let mut table = Table::new([
            Column::Left("NAME"),
            Column::Right("PID"),
            Column::Right("TIME"),
            Column::Left("COMMAND"),
        ]);
        for line in lines {
            let time = Duration::from_secs(line.running_usec / 1_000_000);
            table.add([
                line.name,
                line.pid.to_string(),
                Span(time).to_string(),
                shell_words::join(line.command),
            ]);
        }
        chain::print(&table.text(None)).map(drop)
    }
}

/// The process that runs the command: the child of process 1, or that itself.
fn inner(pid: i32) -> i32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let is_init = status_of(pid, "NSpid").is_some_and(|numbers| numbers.ends_with("\t1"));
    let first = children.split(' ').next().and_then(|child| child.parse().ok());
    // A command that is process 1 itself has children too, but has become another program.
    first.filter(|_| is_init && !has_begun(pid)).unwrap_or(pid)
}

/// Whether it has become another program since it was forked, as the command of a box does when it has given up what it is
/// not to have: `PF_FORKNOEXEC` (include/linux/sched.h) in `flags` of /proc/PID/stat (proc_pid_stat(5)).
fn has_begun(pid: i32) -> bool {
    const FORKED_ONLY: u64 = 0x40;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let flags = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & FORKED_ONLY == 0)
}

fn command_of(pid: i32) -> Vec<String> {
    let words = fs::read(format!("/proc/{}/cmdline", inner(pid))).unwrap_or_default();
    let words = words.strip_suffix(b"\0").unwrap_or(&words).split(|byte| *byte == 0);
    words.map(|word| chain::one_line(&String::from_utf8_lossy(word))).collect()
}

/// A field of /proc/PID/status.
fn status_of(pid: i32, field: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix(field)?.strip_prefix(":\t")?.to_owned()))
}

/// Run a command in a box that has a name, in its namespaces and groups, with no more privileges than its command
#[derive(Debug, Parser)]
#[command(name = "box-run exec", override_usage = "box-run exec [OPTIONS] NAME [--] [NEXT [ARG...]]")]
struct Exec {
    #[command(flatten)]
    options: Options,
    /// The box
    name: Name,
    /// The command
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "NEXT", hide = true)]
    words: Vec<OsString>,
}

impl Exec {
    fn job(self) -> Result<Job> {
        // Whatever the box's programs are, this one's file is not among them.
        chain::run_unchangeable(c"box-run")?;
        crate::terminal::take_another()?;
        let operands = Operands::split(self.words, |_, _| false)?;
        let next = if operands.next.is_empty() { vec!["sh".into()] } else { operands.next };
        let found = running(&self.name)?;
        let command = inner(found.pid);
        let doing = || format!("look at process {command} of the box");
        let pid = Pid::from_raw(command).ok_or(Errno::ESRCH).doing(doing)?;
        let process = pidfd_open(pid, PidfdFlags::empty()).doing(doing)?;
        if !has_begun(command) {
            return Err(Error::new(self.name.to_string(), "its command does not run yet")
                .hint("try again; before that it has privileges that it will not have"));
        }
        // Asked once more when it is held: it is the one that the box runs.
        if inner(found.pid) != command || has_ended(&found.process) {
            return Err(ended(&self.name));
        }
        let as_number = |pid: i32| u32::try_from(pid).unwrap_or_default();
        let details = ns_enter::Details {
            root: true,
            env_of: Some(as_number(command)),
            ..ns_enter::Details::default()
        };
        let namespaces = Namespaces::parse(OsStr::new(&format!("all@{command}")))?;
        let links: Links = vec![
            Box::new(cg_set::Joined::new(as_number(command))),
            Box::new(NsEnter::new(namespaces).with(details)),
            Box::new(PrivDrop::new(privileges_of(command).ok_or(Errno::ESRCH).doing(doing)?)),
            Box::new(StillThere { name: self.name, process }),
        ];
        Ok(Job::Launch { links, next, options: self.options })
    }
}

/// Fails if the box's command has ended, and its pid may be another process's, when the links in front have opened by
/// its pid what they need of it.
#[derive(Debug)]
struct StillThere {
    name: Name,
    process: OwnedFd,
}

impl Link for StillThere {
    fn name(&self) -> &'static str {
        "box-run"
    }

    fn words(&self) -> Vec<OsString> {
        Vec::new()
    }

    fn steps(&self) -> Vec<String> {
        Vec::new()
    }

    fn prepare(&mut self, _launch: &mut Launch) -> Result<()> {
        if has_ended(&self.process) {
            return Err(ended(&self.name));
        }
        Ok(())
    }
}

fn ended(name: &Name) -> Error {
    Error::new(name.to_string(), "the box has just ended")
}

/// What the box's command may do, as far as it can be seen: a filter cannot be copied, so one that is there becomes
/// the usual one.
fn privileges_of(pid: i32) -> Option<Settings> {
    let bits = u64::from_str_radix(&status_of(pid, "CapPrm")?, 16).ok()?;
    let is = |field, value: &str| status_of(pid, field).as_deref() == Some(value);
    let ids = |field| status_of(pid, field).and_then(|ids| ids.split('\t').next()?.parse::<u32>().ok());
    let (uid, gid) = (inside(pid, "uid_map", ids("Uid")?)?, inside(pid, "gid_map", ids("Gid")?)?);
    let is_of_caller =
        fs::read_link(format!("/proc/{pid}/ns/user")).ok() == fs::read_link("/proc/self/ns/user").ok();
    // In another user namespace the join makes us root, which may be all that there is.
    let is_root = !is_of_caller && (uid, gid) == (0, 0);
    let user = if is_root { None } else { Some(format!("{uid}:{gid}").parse().ok()?) };
    Some(Settings {
        user,
        caps: Some(Caps::of_bits(bits)),
        no_new_privs: is("NoNewPrivs", "1"),
        seccomp: Some(if is("Seccomp", "2") { Seccomp::Default } else { Seccomp::None }),
        rlimits: Rlimit::of_process(pid.cast_unsigned())?,
        ..Settings::default()
    })
}

/// An id as the user namespace of a process has it, by the map of it that the caller sees (user_namespaces(7)).
fn inside(pid: i32, map: &str, id: u32) -> Option<u32> {
    let map = fs::read_to_string(format!("/proc/{pid}/{map}")).ok()?;
    map.lines().find_map(|line| {
        let numbers: Vec<u32> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [first, outside, count] = numbers.try_into().ok()?;
        let at = id.checked_sub(outside).filter(|at| *at < count)?;
        first.checked_add(at)
    })
}

/// End a box that has a name: its command gets SIGTERM, and all is killed if that does not end it
#[derive(Debug, Parser)]
#[command(name = "box-run stop")]
struct Stop {
    /// How long SIGTERM has to do its work
    #[arg(long, value_name = "TIME", default_value = "10s")]
    kill_after: Span,
    /// The box
    name: Name,
}

impl Stop {
    fn stop(&self) -> Result<()> {
        let found = running(&self.name)?;
        let doing = || format!("end the box {}", self.name);
        let send = |signal| match pidfd_send_signal(&found.process, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => sent.doing(doing).remedy(Errno::EPERM, "it is another user's"),
        };
        send(Signal::TERM)?;
        let Span(time) = self.kill_after;
        let time =
            rustix::event::Timespec::try_from(time).map_err(|_| Error::new("--kill-after", "too long"))?;
        if !wait(&found.process, Some(&time)).doing(doing)? {
            send(Signal::KILL)?;
            wait(&found.process, None).doing(doing)?;
        }
        Ok(())
    }
}

/// Whether the process ended in this time.
fn wait(process: &OwnedFd, time: Option<&rustix::event::Timespec>) -> rustix::io::Result<bool> {
    loop {
        match poll(&mut [PollFd::new(process, PollFlags::IN)], time) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.map(|ready| ready > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    #[test]
    fn a_process_has_begun_when_it_has_become_another_program() {
        let mut shell = Command::new("bash");
        shell.args(["-c", "(read -r line) <&0 & echo $!; wait"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().expect("bash");
        let mut line = String::new();
        BufReader::new(shell.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(!has_begun(line.trim().parse().expect("a pid")));
        assert!(has_begun(shell.id().cast_signed()));
        drop(shell.stdin.take());
        shell.wait().expect("ends");
        assert!(!has_begun(shell.id().cast_signed()));
    }

    #[test]
    fn a_name_is_no_path() {
        for name in ["a", "web-1", "A.b_c", "0"] {
            assert_eq!(
                Name::of(format!("chainbox-{name}.pid").as_ref()).map(|name| name.0).as_deref(),
                Some(name)
            );
        }
        for name in ["", ".", "..", "-a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(name.parse::<Name>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_process_runs_for_as_long_as_it_is_there() {
        let pid = i32::try_from(std::process::id()).expect("pid");
        let first = running_for(1).expect("a time");
        assert!(running_for(pid).expect("a time") <= first && first > Duration::ZERO);
    }
}
