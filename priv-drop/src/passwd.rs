//! Names of users and groups: /etc/passwd and /etc/group as NEXT's root has them (passwd(5), group(5)).
//! The files may be hostile, so nothing of them is run, waited for or read without end, and no other source
//! of names is asked: what nsswitch.conf(5) names would be code of that root.

use std::{fs::File, io::Read};

use chain::{Doing, Error, Remedy, Result};
use nix::errno::Errno;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// Far more than the file of a large site has.
const LARGEST: u64 = 4 << 20;

/// The number and the group of a user.
pub(crate) fn user(name: &str) -> Result<(u32, u32)> {
    const PASSWD: &str = "/etc/passwd";
    let doing = || format!("user {name}");
    let content = read(PASSWD).map_err(|error| error.within(&doing()))?;
    match find(&content, name, 7, |fields| Some((number(fields[2])?, number(fields[3])?))) {
        None => Err(nobody(doing(), PASSWD)),
        Some((0, _)) if name != "root" => {
            Err(Error::new(doing(), format!("{PASSWD} says that it is root"))
                .hint("write 0 if that is meant"))
        }
        Some((uid, 0)) if name != "root" => {
            Err(Error::new(doing(), format!("{PASSWD} says that its group is root's"))
                .hint(format!("write {uid}:0 if that is meant, or another group")))
        }
        Some(found) => Ok(found),
    }
}

/// The number of a group.
pub(crate) fn group(name: &str) -> Result<u32> {
    const GROUP: &str = "/etc/group";
    let doing = || format!("group {name}");
    let content = read(GROUP).map_err(|error| error.within(&doing()))?;
    match find(&content, name, 4, |fields| number(fields[2])) {
        None => Err(nobody(doing(), GROUP)),
        Some(0) if name != "root" => {
            Err(Error::new(doing(), format!("{GROUP} says that it is root's"))
                .hint("write 0 if that is meant"))
        }
        Some(found) => Ok(found),
    }
}

fn nobody(doing: String, file: &str) -> Error {
    Error::new(doing, format!("not in {file}")).hint("write a number, or a name that is there")
}

/// The first entry under `name` with that many fields that `take` can read; all other lines are skipped.
fn find<T>(content: &[u8], name: &str, fields: usize, take: impl Fn(&[&[u8]]) -> Option<T>) -> Option<T> {
    content.split(|byte| *byte == b'\n').find_map(|line| {
        let entry: Vec<_> = line.split(|byte| *byte == b':').collect();
        (entry.len() == fields && entry[0] == name.as_bytes()).then(|| take(&entry)).flatten()
    })
}

/// Digits only, and not the number that means none.
fn number(field: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(field).ok()?;
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    number.filter(|number| *number != u32::MAX)
}

/// The whole of a regular file. Opening waits for nobody, and no link of /proc leads to what this process
/// has open.
fn read(path: &str) -> Result<Vec<u8>> {
    let doing = || path.to_owned();
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)
        .doing(doing)
        .remedy(Errno::ENOENT, "write a number, which needs no such file")?;
    if !FileType::from_raw_mode(fstat(&file).doing(doing)?.st_mode).is_file() {
        return Err(Error::new(doing(), "not a regular file"));
    }
    let mut content = Vec::new();
    File::from(file).take(LARGEST + 1).read_to_end(&mut content).doing(doing)?;
    if content.len() as u64 > LARGEST {
        return Err(Error::new(doing(), "larger than 4 MiB").hint("write a number"));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn uid(content: &[u8]) -> Option<u32> {
        find(content, "me", 7, |fields| number(fields[2]))
    }

    #[test]
    fn the_first_entry_that_can_be_read_is_taken() {
        let content = b"me\nme:x:-1:1:::\nme:x:+1:1:::\nme:x:4294967295:1:::\nme:x: 1:1:::\n\
            me:x::1:::\nme:x:0x1:1:::\n:x:9:1:::\nme :x:9:1:::\n\xff:x:9:1:::\nme:x:7:1:\xff::\nme:x:8:1:::\n";
        assert_eq!(uid(content), Some(7));
    }

    #[test]
    fn an_entry_at_the_end_needs_no_newline() {
        assert_eq!(uid(b"me:x:7:1:::"), Some(7));
    }

    proptest! {
        #[test]
        fn no_content_panics(content in proptest::collection::vec(any::<u8>(), 0..200), text in "(me|:|\n|[0-9]|x){0,40}") {
            uid(&content);
            uid(text.as_bytes());
        }
    }
}
