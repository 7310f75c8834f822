//! The list as the files of the devices controller (security/device_cgroup.c of the kernel).

use std::path::Path;

use chain::{Remedy, Result};
use nix::errno::Errno;

use super::{Access, Devices, List, Numbers};
use crate::limits::{read_text, write};

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";
/// What a group has that refuses nothing itself.
const ALL: &str = "a *:* rwm";
const ROOT: &str = "run as root";
const ABOVE: &str = "a group above this one does not allow it, or you are not root";
const BELOW: &str = "the group has groups below it; remove them, or set its devices before they are made";

/// Restricts a group. A list that is there is changed by what differs: at no moment is more allowed than
/// before or after, what stays is allowed all the while, and groups below do not hinder it.
pub(super) fn set(devices: &Devices, dir: &Path) -> Result<()> {
    let Some(list) = devices.list() else {
        return write(dir, ALLOW, "a").remedy(Errno::EPERM, ABOVE).remedy(Errno::EINVAL, BELOW);
    };
    let before = get(dir).and_then(|before| before.list());
    if before.is_none() {
        write(dir, DENY, "a").remedy(Errno::EPERM, ROOT).remedy(Errno::EINVAL, BELOW)?;
    }
    let before = before.unwrap_or_default();
    for (numbers, access) in missing(&before, &list) {
        write(dir, DENY, &line(numbers, access)).remedy(Errno::EPERM, ROOT)?;
    }
    for (numbers, access) in missing(&list, &before) {
        write(dir, ALLOW, &line(numbers, access)).remedy(Errno::EPERM, ABOVE)?;
    }
    Ok(())
}

/// What a group is restricted to.
pub(super) fn get(dir: &Path) -> Option<Devices> {
    let text = read_text(dir, "devices.list")?;
    if text.lines().any(|line| line == ALL) {
        return Some(Devices::ALL);
    }
    text.lines().map(parse).collect::<Option<List>>().map(|list| Devices::of(Some(list)))
}

/// What the one list allows and the other does not, each rule by itself.
fn missing<'a>(list: &'a List, other: &'a List) -> impl Iterator<Item = (Numbers, Access)> + 'a {
    list.iter().filter_map(|(numbers, access)| {
        let there = other.get(numbers).copied().unwrap_or(Access(0));
        Some((*numbers, access.without(there)?))
    })
}

/// `c 1:3 rw`.
fn line(numbers: Numbers, access: Access) -> String {
    let numbers = numbers.to_string();
    let (kind, numbers) = numbers.split_at(1);
    format!("{kind} {numbers} {access}")
}

fn parse(line: &str) -> Option<(Numbers, Access)> {
    let (device, access) = line.rsplit_once(' ')?;
    Some((Numbers::parse(&device.replacen(' ', "", 1))?, Access::parse(access)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> List {
        Devices::parse(text).expect("devices").list().expect("not all")
    }

    #[test]
    fn a_line_is_what_the_kernel_shows() {
        for text in ["c 1:3 rw", "b *:* m", "c 136:* rwm", "b 8:0 w"] {
            let (numbers, access) = parse(text).expect("a line");
            assert_eq!(line(numbers, access), text);
        }
        for text in ["", "a *:* rwm", "c 1:3", "c 1:3 ", "x 1:3 r"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_what_differs_is_written() {
        let (before, after) = (list("none,+c1:3:rw,+c1:5:r"), list("none,+c1:3:rm,+c1:7:r"));
        let lines = |list, other| missing(list, other).map(|(of, to)| line(of, to)).collect::<Vec<_>>();
        assert_eq!(lines(&before, &after), ["c 1:3 w", "c 1:5 r"]);
        assert_eq!(lines(&after, &before), ["c 1:3 m", "c 1:7 r"]);
    }
}
