//! Extended attributes of a file by its directory's descriptor and its name, of a symbolic link itself too
//! (xattr(7)). The *xattrat(2) calls are Linux 6.13; before that, the way is through /proc/self/fd.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_long, c_uint},
    os::fd::{AsRawFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use nix::errno::Errno;

// The same on all architectures that Rust has Linux for (scripts/syscall.tbl); libc does not have them.
const SETXATTRAT: c_long = 463;
const GETXATTRAT: c_long = 464;
const LISTXATTRAT: c_long = 465;
const REMOVEXATTRAT: c_long = 466;

/// XATTR_LIST_MAX and XATTR_SIZE_MAX of include/uapi/linux/limits.h.
const MOST: usize = 65_536;

/// `struct xattr_args` of include/uapi/linux/xattr.h.
#[repr(C, align(8))]
struct Args {
    value: u64,
    size: u32,
    flags: u32,
}

static OLD_KERNEL: AtomicBool = AtomicBool::new(false);

/// Puts the attributes' names into `names`, each with a zero byte after it. A filesystem that has none
/// has an empty list.
pub fn list(dir: BorrowedFd, name: &CStr, names: &mut Vec<u8>) -> nix::Result<()> {
    let read = |buffer: *mut u8, size: usize| {
        at(
            |dir, name, flags| {
                // SAFETY: the kernel writes at most `size` bytes to the buffer, which is that long.
                unsafe { libc::syscall(LISTXATTRAT, dir, name, flags, buffer, size) }
            },
            // SAFETY: as above.
            |path| unsafe { libc::llistxattr(path, buffer.cast(), size) as c_long },
            dir,
            name,
        )
    };
    match filled(names, read) {
        Err(Errno::EOPNOTSUPP) => {
            names.clear();
            Ok(())
        }
        read => read,
    }
}

/// The value of an attribute; `None` if the file does not have it.
pub fn get(dir: BorrowedFd, name: &CStr, attribute: &CStr) -> nix::Result<Option<Vec<u8>>> {
    let mut value = Vec::with_capacity(256);
    let read = |buffer: *mut u8, size: usize| {
        let mut args = Args { value: buffer as u64, size: size.try_into().unwrap_or(u32::MAX), flags: 0 };
        at(
            |dir, name, flags| {
                let (args, length) = (&raw mut args, size_of::<Args>());
                // SAFETY: the kernel writes at most `size` bytes to the buffer, which is that long.
                unsafe { libc::syscall(GETXATTRAT, dir, name, flags, attribute.as_ptr(), args, length) }
            },
            // SAFETY: as above.
            |path| unsafe { libc::lgetxattr(path, attribute.as_ptr(), buffer.cast(), size) as c_long },
            dir,
            name,
        )
    };
    match filled(&mut value, read) {
        Ok(()) => Ok(Some(value)),
        Err(Errno::ENODATA | Errno::EOPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets an attribute.
pub fn set(dir: BorrowedFd, name: &CStr, attribute: &CStr, value: &[u8]) -> nix::Result<()> {
    let size = value.len();
    let args = Args { value: value.as_ptr() as u64, size: size.try_into().unwrap_or(u32::MAX), flags: 0 };
    at(
        |dir, name, flags| {
            let (args, length) = (&raw const args, size_of::<Args>());
            // SAFETY: the kernel reads the value, which outlives the call.
            unsafe { libc::syscall(SETXATTRAT, dir, name, flags, attribute.as_ptr(), args, length) }
        },
        // SAFETY: as above.
        |path| unsafe { libc::lsetxattr(path, attribute.as_ptr(), value.as_ptr().cast(), size, 0).into() },
        dir,
        name,
    )
    .map(drop)
}

/// Removes an attribute.
pub fn remove(dir: BorrowedFd, name: &CStr, attribute: &CStr) -> nix::Result<()> {
    at(
        // SAFETY: the strings outlive the call.
        |dir, name, flags| unsafe { libc::syscall(REMOVEXATTRAT, dir, name, flags, attribute.as_ptr()) },
        // SAFETY: as above.
        |path| unsafe { libc::lremovexattr(path, attribute.as_ptr()).into() },
        dir,
        name,
    )
    .map(drop)
}

/// Makes the new call, or on an older kernel the old one with a path.
fn at(
    new: impl FnOnce(c_int, *const c_char, c_uint) -> c_long,
    old: impl FnOnce(*const c_char) -> c_long,
    dir: BorrowedFd,
    name: &CStr,
) -> nix::Result<usize> {
    if !OLD_KERNEL.load(Ordering::Relaxed) {
        let flags = libc::AT_SYMLINK_NOFOLLOW.cast_unsigned();
        match Errno::result(new(dir.as_raw_fd(), name.as_ptr(), flags)) {
            Err(Errno::ENOSYS) => OLD_KERNEL.store(true, Ordering::Relaxed),
            done => return done.map(|length| usize::try_from(length).unwrap_or(0)),
        }
    }
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend(name.to_bytes());
    let path = CString::new(path).map_err(|_| Errno::EINVAL)?;
    Errno::result(old(path.as_ptr())).map(|length| usize::try_from(length).unwrap_or(0))
}

/// Fills `bytes` by a call that says ERANGE if there is too little room.
fn filled(
    bytes: &mut Vec<u8>,
    mut read: impl FnMut(*mut u8, usize) -> nix::Result<usize>,
) -> nix::Result<()> {
    bytes.clear();
    bytes.reserve(1024);
    let length = match read(bytes.as_mut_ptr(), bytes.capacity()) {
        Err(Errno::ERANGE) => {
            bytes.reserve(MOST);
            read(bytes.as_mut_ptr(), bytes.capacity())?
        }
        read => read?,
    };
    // SAFETY: the kernel has written that many bytes into the room that there is.
    unsafe { bytes.set_len(length) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::File, os::fd::AsFd};

    #[test]
    fn both_ways_do_the_same() {
        let dir = std::env::temp_dir().join(format!("chainbox-xattr-{}", std::process::id()));
        std::fs::create_dir(&dir).expect("mkdir");
        std::fs::write(dir.join("file"), "").expect("write");
        let fd = File::open(&dir).expect("open");
        for old in [false, true] {
            OLD_KERNEL.store(old, Ordering::Relaxed);
            let (fd, file, attribute) = (fd.as_fd(), c"file", c"user.a");
            assert_eq!(get(fd, file, attribute), Ok(None));
            let long = vec![7; 3000];
            set(fd, file, attribute, &long).expect("set");
            assert_eq!(get(fd, file, attribute), Ok(Some(long)));
            let mut names = Vec::new();
            list(fd, file, &mut names).expect("list");
            assert_eq!(names, b"user.a\0");
            remove(fd, file, attribute).expect("remove");
            list(fd, file, &mut names).expect("list");
            assert!(names.is_empty());
            assert_eq!(get(fd, c"none", attribute), Err(Errno::ENOENT));
        }
        OLD_KERNEL.store(false, Ordering::Relaxed);
        std::fs::remove_dir_all(dir).expect("removed");
    }
}
