//! NEXT as a file that is opened before the root is another, and run by descriptor after it.
//!
//! It must stand alone: a dynamic loader or an interpreter would be looked up in the new root, which may
//! hold another, or none. And what runs must not be changed through /proc/PID/exe by those who are in the
//! new root, so it is opened on a mount of its own, which is read-only.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
};

use nix::{
    errno::Errno,
    libc,
    unistd::{AccessFlags, eaccess},
};

use crate::{
    error::{Doing, Error, NOT_RUNNABLE, Remedy, Result},
    mount::{copy_below, make_read_only},
    next::{candidates, explain},
};

/// Opens the program that execvp(3) would run here for `name`.
pub(crate) fn open(name: &OsStr, path: Option<OsString>) -> Result<OwnedFd> {
    let file = find(name, path.clone()).map_err(|errno| explain(name, path, errno))?;
    let doing = || format!("run {} of the host", name.display());
    if let Err(why) = stands_alone(&file) {
        let error = Error::new(doing(), why).with_status(NOT_RUNNABLE);
        return Err(error.hint(match why {
            SCRIPT => {
                "name one that is linked statically, as busybox sh, or run what the new root has without -H"
            }
            _ => "link it statically, or run the new root's own without -H",
        }));
    }
    let program = copy_below(&file, "", false).doing(doing).remedy(Errno::EPERM, "run as root")?;
    make_read_only(&program, false).map_err(|error| error.within(&doing()))?;
    Ok(program)
}

const SCRIPT: &str = "it is a script, which needs its interpreter";

fn find(name: &OsStr, path: Option<OsString>) -> Result<File, Errno> {
    let mut refused = Errno::ENOENT;
    for candidate in candidates(name, path) {
        // Not to wait for the other end of a pipe.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&candidate);
        let file = match opened {
            Ok(file) => file,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENOTDIR) => continue,
                Some(errno @ Errno::EACCES) => {
                    refused = errno;
                    continue;
                }
                errno => return Err(errno.unwrap_or(Errno::EIO)),
            },
        };
        let is_file = file.metadata().is_ok_and(|found| found.is_file());
        if is_file && eaccess(&candidate, AccessFlags::X_OK).is_ok() {
            return Ok(file);
        }
        refused = Errno::EACCES;
    }
    Err(refused)
}

/// Why the program needs another file to run, if it does.
fn stands_alone(file: &File) -> Result<(), &'static str> {
    const NO_PROGRAM: &str = "it is no program of this machine's kind";
    match has_loader(file) {
        Ok(Some(false)) => Ok(()),
        Ok(Some(true)) => Err("it needs a dynamic loader and libraries"),
        Ok(None) if read::<2>(file, 0).is_ok_and(|start| start == *b"#!") => Err(SCRIPT),
        Ok(None) => Err(NO_PROGRAM),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(NO_PROGRAM),
        Err(_) => Err("it cannot be read"),
    }
}

/// Whether an ELF file names a dynamic loader (elf(5), PT_INTERP); `None` if it is not one of this
/// machine's byte order.
fn has_loader(file: &File) -> io::Result<Option<bool>> {
    const WIDE: u8 = 2;
    const PT_INTERP: u32 = 3;
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let ident: [u8; 6] = match read(file, 0) {
        Ok(ident) => ident,
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if !ident.starts_with(b"\x7fELF") || ident[5] != order {
        return Ok(None);
    }
    // The program headers: where they begin, how large one is, how many there are.
    let (begin, sizes) = if ident[4] == WIDE {
        (u64::from_ne_bytes(read(file, 0x20)?), 0x36)
    } else {
        (u32::from_ne_bytes(read(file, 0x1c)?).into(), 0x2a)
    };
    let size = u64::from(u16::from_ne_bytes(read(file, sizes)?));
    for number in 0..u64::from(u16::from_ne_bytes(read(file, sizes + 2)?)) {
        let at = begin.checked_add(number * size).ok_or(ErrorKind::UnexpectedEof)?;
        if u32::from_ne_bytes(read(file, at)?) == PT_INTERP {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

fn read<const N: usize>(file: &File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use proptest::prelude::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("write");
        file
    }

    #[test]
    fn what_needs_another_file_is_told_from_what_does_not() {
        let run = |path: &str| stands_alone(&File::open(path).expect(path));
        assert_eq!(run("/bin/busybox"), Ok(()));
        assert_eq!(run("/bin/true"), Err("it needs a dynamic loader and libraries"));
        assert_eq!(stands_alone(&file(b"#!/bin/sh\n")), Err(SCRIPT));
        for text in [&b""[..], b"#", b"text that is no program", b"\x7fELF\x02\x01"] {
            assert_eq!(stands_alone(&file(text)), Err("it is no program of this machine's kind"));
        }
    }

    proptest! {
        #[test]
        fn no_program_panics(rest in proptest::collection::vec(any::<u8>(), 0..120), wide in 1_u8..3) {
            let _ = stands_alone(&file(&[&b"\x7fELF"[..], &[wide, 1], &rest].concat()));
        }
    }
}
