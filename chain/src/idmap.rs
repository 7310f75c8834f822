//! A map of owners as the kernel takes it for a mount: a user namespace that nobody is in.

use std::{
    fmt,
    fs::{self, File},
    io::Read,
    os::fd::OwnedFd,
    str::FromStr,
};

use nix::{errno::Errno, sched::CloneFlags, sys::wait::waitpid, unistd::Pid};

use crate::{
    channel::Channel,
    error::{Doing, Error, Remedy, Result},
    signals,
    sys::{self, Side},
};

/// A user namespace in which users and groups are mapped by `map`, in the lines of user_namespaces(7),
/// "User and group ID mappings". It lives as long as the descriptor, or a mount that was made with it.
fn id_map(map: &str) -> Result<OwnedFd> {
    if !signals::proc_is_ours() {
        return Err(Error::new("id map", "/proc is missing, or that of another pid namespace"));
    }
    // The child is there until the pipe closes, and with it the namespace until it is open here.
    let Channel { mut reader, writer } = Channel::new()?;
    let made = sys::clone(CloneFlags::CLONE_NEWUSER, None)
        .doing(|| "new user namespace for an id map".into())
        .remedy(Errno::EPERM, "run as root")?;
    match made {
        Side::Child => {
            drop(writer);
            let _ = reader.read(&mut [0]);
            sys::exit_now(0)
        }
        Side::Parent(pid) => {
            let namespace = fill(pid, map);
            drop(writer);
            waitpid(pid, None).doing(|| "wait for a child".into())?;
            namespace
        }
    }
}

fn fill(pid: Pid, map: &str) -> Result<OwnedFd> {
    for file in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{file}"), map)
            .doing(|| format!("set the {file} of an id map"))
            .remedy(Errno::EPERM, "run as root")
            .remedy(Errno::EINVAL, "parts of a map must not overlap")?;
    }
    let namespace = File::open(format!("/proc/{pid}/ns/user")).doing(|| "open an id map".into())?;
    Ok(namespace.into())
}

/// Which owner in the filesystem is shown as which: a first id, the one that it is shown as, and how many
/// follow each other. It is the same for users and for groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdMap(pub Vec<[u32; 3]>);

impl IdMap {
    /// As the kernel takes it (user_namespaces(7)).
    fn lines(&self) -> String {
        let lines: Vec<_> =
            self.0.iter().map(|[inside, outside, count]| format!("{inside} {outside} {count}")).collect();
        lines.join("\n")
    }

    /// A user namespace with this map, that nobody is in.
    pub fn namespace(&self) -> Result<OwnedFd> {
        id_map(&self.lines())
    }

    /// As whom an owner in the filesystem is shown; `None` if that is nobody.
    pub fn shown(&self, owner: u32) -> Option<u32> {
        let of = |[inside, outside, count]: &[u32; 3]| {
            let from_first = owner.checked_sub(*inside).filter(|from_first| from_first < count)?;
            Some(outside + from_first)
        };
        self.0.iter().find_map(of)
    }

    /// Whether an owner may be shown as this one.
    pub fn shows_as(&self, id: u32) -> bool {
        let holds =
            |[_, outside, count]: &[u32; 3]| id.checked_sub(*outside).is_some_and(|from| from < *count);
        self.0.iter().any(holds)
    }
}

impl FromStr for IdMap {
    type Err = String;

    /// `INSIDE-OUTSIDE-COUNT`, of which there may be more with `+` between them.
    fn from_str(text: &str) -> Result<Self, String> {
        let lines = text.split('+').map(line).collect::<Option<_>>();
        lines
            .map(Self)
            .ok_or_else(|| "not an id map; write INSIDE-OUTSIDE-COUNT[+...], such as 0-100000-65536".into())
    }
}

/// The result of giving a mount a map of owners, in words; `shown` is what the user calls it.
pub fn owners_mapped(done: nix::Result<()>, shown: &str) -> Result<()> {
    let why = "its filesystem, or that of a mount below it, takes no id map";
    done.doing(|| shown.to_owned())
        .map_err(|error| if error.errno() == Some(Errno::EINVAL) { error.words(why) } else { error })
}

fn line(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.split('-').map(|number| {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse::<u32>().ok()).flatten()
    });
    let line = [numbers.next()??, numbers.next()??, numbers.next()??];
    let [inside, outside, count] = line;
    // 2^32 - 1 is no id (-1 in chown(2)).
    let ends = |first: u32| first.checked_add(count).is_some();
    (numbers.next().is_none() && count > 0 && ends(inside) && ends(outside)).then_some(line)
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|[from, to, count]| format!("{from}-{to}-{count}")).collect();
        write!(f, "{}", lines.join("+"))
    }
}
