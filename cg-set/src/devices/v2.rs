//! The list as a program that is attached to the group. It lives as long as the group. Those of the groups
//! above are asked too: who may open a device is allowed to by all of them (BPF_F_ALLOW_MULTI).

use std::{fs::File, os::fd::OwnedFd, path::Path};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;

use super::{Devices, bpf, program};

/// How often another cg-set is let change the group first.
const TRIES: u32 = 100;
const NOT_ROOT: &str = "run as root: it needs CAP_BPF and CAP_NET_ADMIN, and not only in a user namespace";
const NO_KERNEL: &str = "the kernel needs CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL";
const ALONE: &str =
    "a program of another is attached to this group or to one above it that lets no other beside it";

/// Restricts a group. A program of ours that is there is replaced, in one step; others' stay.
pub(super) fn set(devices: &Devices, dir: &Path) -> Result<()> {
    let group = open(dir)?;
    let new = devices.list().map(|list| load(&program::of(&list), &devices.to_string())).transpose()?;
    let mut tries = 0;
    let (before, rest) = loop {
        let before = bpf::effective(&group).doing(|| ask(dir))?;
        let mut ours = ours(&group).doing(|| ask(dir)).remedy(Errno::EPERM, NOT_ROOT)?;
        let Some(new) = &new else { break (before, ours) };
        let old = (!ours.is_empty()).then(|| ours.remove(0));
        match bpf::attach(&group, new, old.as_ref().map(|(_, program)| program)) {
            // Another cg-set has replaced it meanwhile.
            Err(Errno::ENOENT) if tries < TRIES => tries += 1,
            attached => {
                attached
                    .doing(|| format!("attach a program to {}", dir.display()))
                    .remedy(Errno::EPERM, ALONE)?;
                let gone = old.map_or(0, |(id, _)| id);
                break (before.into_iter().filter(|id| *id != gone).collect(), ours);
            }
        }
    };
    if let Some(new) = &new
        && let Err(error) = still_hold(&before, &group, dir)
    {
        let _ = bpf::detach(&group, new);
        return Err(error);
    }
    for (_, program) in &rest {
        match bpf::detach(&group, program) {
            Err(errno) if errno != Errno::ENOENT => {
                return Err(errno).doing(|| format!("take a program off {}", dir.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fails if a program does not hold any more that did: one of a group above that yields to those below it
/// (BPF_F_ALLOW_OVERRIDE), which cannot be seen from here before.
fn still_hold(before: &[u32], group: &File, dir: &Path) -> Result<()> {
    let now = bpf::effective(group).doing(|| ask(dir))?;
    match before.iter().find(|id| !now.contains(id)) {
        None => Ok(()),
        Some(id) => Err(Error::new(
            format!("attach a program to {}", dir.display()),
            format!("program {id} of a group above would not hold any more"),
        )
        .hint("whoever attached it can let it hold with BPF_F_ALLOW_MULTI")),
    }
}

fn load(program: &[program::Instruction], text: &str) -> Result<OwnedFd> {
    let refused = |(errno, words): (Errno, String)| {
        // What the kernel gives a kind of program that it does not know, without a word.
        let is_unknown = words.is_empty() && matches!(errno, Errno::EINVAL | Errno::ENOSYS);
        let error = Error::os("give the kernel a program for devices", errno).words(words);
        if is_unknown { error.hint(NO_KERNEL) } else { error }
    };
    let program = bpf::load(program).map_err(refused).remedy(Errno::EPERM, NOT_ROOT)?;
    bpf::keep_text(&program, text).doing(|| "keep the list of devices with its program".into())?;
    Ok(program)
}

/// What a group is restricted to by us, if it can be told.
pub(super) fn get(dir: &Path) -> Option<Devices> {
    let ours = ours(&open(dir).ok()?).ok()?;
    let (_, program) = ours.first()?;
    Devices::parse(&bpf::text(program).ok()?).ok()
}

/// The programs that are attached to a group and are ours, by their numbers.
fn ours(group: &File) -> nix::Result<Vec<(u32, OwnedFd)>> {
    let mut ours = Vec::new();
    for id in bpf::attached(group)? {
        match bpf::program(id) {
            Ok(program) if bpf::is_ours(&program)? => ours.push((id, program)),
            // It was taken off just now.
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(ours)
}

fn open(dir: &Path) -> Result<File> {
    File::open(dir).doing(|| format!("open the group {}", dir.display()))
}

fn ask(dir: &Path) -> String {
    format!("find the programs of {}", dir.display())
}
