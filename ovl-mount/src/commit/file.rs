//! One file as it is in the upper directory, made in the stage and then put into its place, so that there is the
//! old or the new one at any moment.

use std::{
    ffi::CStr,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use chain::{Doing, Remedy, Result, errno};
use nix::errno::Errno;
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, Uid, chmod, chownat, ftruncate,
    linkat, makedev, mkdirat, mknodat, openat, renameat, seek, symlinkat, utimensat,
};

use super::tree::{MADE, Spot};
use crate::changes::{
    Attribute, Entry, FileKind, Prefix, Stat, Time,
    compare::{next_data, target},
    dir::open_file,
};
use crate::own::{changing, open_up, remove};

/// Makes the file in the stage and puts it into its place. If it has no content in the upper directory, that is what
/// is there already.
pub(super) fn make(
    upper: BorrowedFd,
    entry: &Entry,
    prefix: Prefix,
    stage: &OwnedFd,
    spot: &Spot,
) -> Result<()> {
    remove(stage, MADE).doing(|| "clear .ovl-commit".into())?;
    let doing = || "make it".to_owned();
    let stat = &entry.stat;
    let mode = Mode::RUSR | Mode::WUSR;
    match stat.kind {
        FileKind::Regular if entry.marks.metacopy => copy(spot.dir.as_fd(), &spot.name, stat.size, stage)?,
        FileKind::Regular => copy(upper, &entry.name, stat.size, stage)?,
        FileKind::Directory => mkdirat(stage, MADE, Mode::RWXU).doing(doing)?,
        FileKind::Symlink => {
            let target = target(upper, &entry.name)?;
            symlinkat(std::ffi::OsStr::from_bytes(&target), stage, MADE).doing(doing)?;
        }
        FileKind::Fifo => mknodat(stage, MADE, FileType::Fifo, mode, 0).doing(doing)?,
        FileKind::Socket => mknodat(stage, MADE, FileType::Socket, mode, 0).doing(doing)?,
        FileKind::CharDevice | FileKind::BlockDevice => {
            let is_block = stat.kind == FileKind::BlockDevice;
            let kind = if is_block { FileType::BlockDevice } else { FileType::CharacterDevice };
            let device = makedev(stat.rdev.0, stat.rdev.1);
            mknodat(stage, MADE, kind, mode, device)
                .doing(doing)
                .remedy(Errno::EPERM, "only root makes device nodes")?;
        }
    }
    dress(upper, entry, prefix, stage.as_fd(), MADE)?;
    put(stage, MADE, spot)
}

/// Puts what is made into its place. A directory, or one in the place of which it comes, is not replaced in one step
/// by rename(2), so what is there goes first then.
fn put(stage: &OwnedFd, name: &CStr, spot: &Spot) -> Result<()> {
    let doing = || "put it into its place".to_owned();
    let put = || changing(&spot.dir, || renameat(stage, name, &spot.dir, &spot.name));
    match put() {
        Err(
            rustix::io::Errno::ISDIR
            | rustix::io::Errno::NOTDIR
            | rustix::io::Errno::NOTEMPTY
            | rustix::io::Errno::EXIST,
        ) => {
            spot.clear().doing(doing)?;
            put().doing(doing)
        }
        done => done.doing(doing),
    }
}

/// Makes a name for a file that has another one.
pub(super) fn link(first: &Spot, stage: &OwnedFd, spot: &Spot) -> Result<()> {
    remove(stage, MADE).doing(|| "clear .ovl-commit".into())?;
    linkat(&first.dir, &first.name, stage, MADE, AtFlags::empty()).doing(|| "link it".into())?;
    put(stage, MADE, spot)
}

/// Copies the content, without the holes; shared with the upper directory where the filesystem can.
fn copy(dir: BorrowedFd, name: &CStr, size: u64, stage: &OwnedFd) -> Result<()> {
    let doing = || "copy it".to_owned();
    let source = open_file(dir, name).doing(doing)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let new = openat(stage, MADE, flags, Mode::RUSR | Mode::WUSR).doing(doing)?;
    if rustix::fs::ioctl_ficlone(&new, &source).is_ok() {
        return Ok(());
    }
    ftruncate(&new, size).doing(doing)?;
    let mut at = 0;
    while let Some(start) = next_data(&source, at).doing(doing)? {
        let end = match seek(&source, SeekFrom::Hole(start)) {
            Err(rustix::io::Errno::INVAL) => size,
            end => end.doing(doing)?,
        };
        at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(usize::MAX);
            let (mut from, mut to) = (at, at);
            let copied = rustix::fs::copy_file_range(&source, Some(&mut from), &new, Some(&mut to), length);
            match copied.map_err(errno) {
                Ok(0) => return Ok(()),
                Ok(copied) => at += copied as u64,
                // Between these two filesystems not.
                Err(Errno::EXDEV | Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                    at += by_hand(&source, &new, at, length).doing(doing)?;
                }
                Err(errno) => return Err(errno).doing(doing),
            }
        }
    }
    Ok(())
}

fn by_hand(source: &OwnedFd, new: &OwnedFd, at: u64, length: usize) -> rustix::io::Result<u64> {
    let mut room = vec![0; length.min(1 << 18)];
    let read = rustix::io::pread(source, &mut room, at)?;
    let mut written = 0;
    while written < read {
        written += rustix::io::pwrite(new, &room[written..read], at + written as u64)?;
    }
    Ok(read.max(1) as u64)
}

/// Gives a file the metadata that `entry` has in the upper directory: the mode after the owner, which takes bits of
/// it away, and the times last.
pub(super) fn dress(
    upper: BorrowedFd,
    entry: &Entry,
    prefix: Prefix,
    dir: BorrowedFd,
    name: &CStr,
) -> Result<()> {
    let stat = &entry.stat;
    let now = Stat::of(dir, name).doing(|| "look at it".into())?;
    // Nobody gets more than they had before or have after, while the owner is the one and the mode the other.
    let narrow = Stat { mode: now.mode & stat.mode, ..*stat };
    if narrow.mode != now.mode && stat.kind != FileKind::Symlink {
        set_mode(&narrow, dir, name).doing(|| "set its mode".into())?;
    }
    if (now.uid, now.gid) != (stat.uid, stat.gid) {
        let owner = (Uid::from_raw(stat.uid), Gid::from_raw(stat.gid));
        chownat(dir, name, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
            .doing(|| format!("give it to {}:{}", stat.uid, stat.gid))
            .remedy(Errno::EPERM, "only root gives files to others")?;
    }
    let wanted = if entry.marks.attributes {
        prefix.attributes(upper, &entry.name).doing(|| "read its attributes".into())?
    } else {
        Vec::new()
    };
    let has = crate::changes::xattr::plain(dir, name).doing(|| "read its attributes".into())?;
    // Who may not write to a file cannot give it attributes; the mode is set after them.
    let opened = |change: &dyn Fn() -> nix::Result<()>| match change() {
        Err(Errno::EACCES) => open_up(dir, name).and_then(|()| change()),
        done => done,
    };
    for Attribute { name: extra, .. } in
        has.iter().filter(|one| !wanted.iter().any(|other| other.name == one.name))
    {
        opened(&|| chain::xattr::remove(dir, name, extra))
            .doing(|| format!("remove its attribute {}", extra.to_string_lossy()))?;
    }
    for attribute in wanted.iter().filter(|one| !has.contains(one)) {
        opened(&|| chain::xattr::set(dir, name, &attribute.name, &attribute.value))
            .doing(|| format!("set its attribute {}", attribute.name.to_string_lossy()))?;
    }
    if stat.kind != FileKind::Symlink {
        set_mode(stat, dir, name).doing(|| "set its mode".into())?;
    }
    set_times(stat, dir, name)
}

/// Sets the mode of what is there, if it is of the same kind, and not of what a link leads to that was put there
/// meanwhile: chmod(2) follows it, but not the link in /proc to what is open.
fn set_mode(stat: &Stat, dir: BorrowedFd, name: &CStr) -> nix::Result<()> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(dir, name, flags, Mode::empty()).map_err(errno)?;
    if Stat::of_open(&file)?.kind != stat.kind {
        return Err(Errno::ELOOP);
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    chmod(path, Mode::from_bits_truncate(stat.mode)).map_err(errno)
}

/// Gives it the times.
pub(super) fn set_times(stat: &Stat, dir: BorrowedFd, name: &CStr) -> Result<()> {
    let time = |time: Time| Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() };
    let times = Timestamps { last_access: time(stat.atime), last_modification: time(stat.mtime) };
    utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW).doing(|| "set its times".into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn the_mode_of_what_a_link_leads_to_is_not_set() {
        let dir = tempfile::tempdir().expect("a directory");
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "").expect("a file");
        let open = OwnedFd::from(std::fs::File::open(dir.path()).expect("opens"));
        let stat = Stat { mode: 0o4777, ..Stat::of(&open, c"victim").expect("is there") };
        std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).expect("own");
        symlink("victim", dir.path().join("link")).expect("a link");
        assert_eq!(set_mode(&stat, open.as_fd(), c"link"), Err(Errno::ELOOP));
        assert_eq!(victim.metadata().expect("is there").permissions().mode() & 0o7777, 0o600);
        assert_eq!(set_mode(&stat, open.as_fd(), c"victim"), Ok(()));
        assert_eq!(victim.metadata().expect("is there").permissions().mode() & 0o7777, 0o4777);
    }
}
