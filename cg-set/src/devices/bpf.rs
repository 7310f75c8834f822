//! bpf(2), which no library here has: programs that are attached to a group, and text that is kept with
//! them.

use std::{
    ffi::c_long,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{errno::Errno, libc};

use super::program::Instruction;

/// What a program and its text are named, by which they are recognised; at most 15 bytes.
pub(super) const NAME: [u8; 16] = *b"chainbox_dev\0\0\0\0";

const MAP_CREATE: c_long = 0;
const MAP_LOOKUP_ELEM: c_long = 1;
const MAP_UPDATE_ELEM: c_long = 2;
const PROG_LOAD: c_long = 5;
const PROG_ATTACH: c_long = 8;
const PROG_DETACH: c_long = 9;
const PROG_GET_FD_BY_ID: c_long = 13;
const MAP_GET_FD_BY_ID: c_long = 14;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const PROG_QUERY: c_long = 16;
const PROG_BIND_MAP: c_long = 35;

const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const MAP_TYPE_ARRAY: u32 = 2;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;
const F_QUERY_EFFECTIVE: u32 = 1;

/// Enough for the kernel's words about a program that it refuses.
const LOG_SIZE: u32 = 1 << 16;
/// More programs than hold for a group anywhere; the kernel allows 64 in one.
const MOST_PROGRAMS: usize = 1 << 16;

/// The arguments of a command. Newer kernels write to fields that we do not have (`revision` of PROG_QUERY),
/// whatever size they are told, so there is room for them. They refuse arguments with anything but zeros past
/// the last field that a command has, so no struct here leaves bytes between its fields or at its end to chance.
#[repr(C)]
struct Padded<T> {
    attr: T,
    room: [u64; 24],
}

/// Calls bpf(2), and gives back what the kernel wrote to the arguments.
///
/// # Safety
///
/// All addresses in `attr` must be valid for what the command does with them.
unsafe fn bpf<T>(command: c_long, attr: T) -> nix::Result<(c_long, T)> {
    const { assert!(size_of::<T>().is_multiple_of(8), "bytes at the end that are nobody's") };
    let mut attr = Padded { attr, room: [0; 24] };
    // SAFETY: the kernel reads and writes at most so many bytes at this address; for the addresses in it the
    // caller answers.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut attr, size_of_val(&attr)) };
    Errno::result(done).map(|done| (done, attr.attr))
}

/// The same for a command that gives a descriptor, close-on-exec.
///
/// # Safety
///
/// As for [`bpf`].
unsafe fn open<T>(command: c_long, attr: T) -> nix::Result<OwnedFd> {
    // SAFETY: as our caller promises.
    let (fd, _) = unsafe { bpf(command, attr)? };
    let fd = RawFd::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: &impl AsFd) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

fn length<T>(slice: &[T]) -> u32 {
    u32::try_from(slice.len()).unwrap_or(u32::MAX)
}

fn address<T>(data: *const T) -> u64 {
    data.addr() as u64
}

#[repr(C)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_kind: u32,
}

/// Gives the kernel a program, or what it said about one that it refused.
pub(super) fn load(name: [u8; 16], program: &[Instruction]) -> Result<OwnedFd, (Errno, String)> {
    let load_with = |log: &mut [u8]| {
        let attr = Load {
            kind: PROG_TYPE_CGROUP_DEVICE,
            instruction_count: length(program),
            instructions: address(program.as_ptr()),
            license: address(c"MIT OR Apache-2.0".as_ptr()),
            log_level: (!log.is_empty()).into(),
            log_size: length(log),
            log: if log.is_empty() { 0 } else { address(log.as_mut_ptr()) },
            kernel_version: 0,
            flags: 0,
            name,
            interface: 0,
            attach_kind: CGROUP_DEVICE,
        };
        // SAFETY: the program, the text and the log are longer than what is said, and live.
        unsafe { open(PROG_LOAD, attr) }
    };
    load_with(&mut []).or_else(|errno| {
        let mut log = vec![0; LOG_SIZE as usize];
        load_with(&mut log).map_err(|_| (errno, last_line(&log)))
    })
}

/// The last line of a log that says something: the verifier ends with how much it has done.
fn last_line(log: &[u8]) -> String {
    let text = log.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().rev().filter(|line| !line.is_empty() && !line.starts_with("processed "));
    lines.next().unwrap_or_default().to_owned()
}

#[repr(C)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replaced: u32,
    relative: u32,
}

/// Attaches a program to a group beside those that others have attached, in the place of `old`
/// (Linux 5.6) if there is one.
pub(super) fn attach(group: &impl AsFd, program: &OwnedFd, old: Option<&OwnedFd>) -> nix::Result<()> {
    attach_with(F_ALLOW_MULTI | if old.is_some() { F_REPLACE } else { 0 }, group, program, old)
}

pub(super) fn attach_with(
    flags: u32,
    group: &impl AsFd,
    program: &OwnedFd,
    old: Option<&OwnedFd>,
) -> nix::Result<()> {
    let attr = Attach {
        group: number(group),
        program: number(program),
        kind: CGROUP_DEVICE,
        flags,
        replaced: old.map_or(0, number),
        relative: 0,
    };
    // SAFETY: there are no addresses in it.
    unsafe { bpf(PROG_ATTACH, attr) }.map(drop)
}

/// Takes a program off a group.
pub(super) fn detach(group: &impl AsFd, program: &OwnedFd) -> nix::Result<()> {
    let attr = Attach {
        group: number(group),
        program: number(program),
        kind: CGROUP_DEVICE,
        flags: 0,
        replaced: 0,
        relative: 0,
    };
    // SAFETY: there are no addresses in it.
    unsafe { bpf(PROG_DETACH, attr) }.map(drop)
}

#[repr(C)]
struct Query {
    group: u32,
    kind: u32,
    flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    unused: u32,
}

/// The numbers of the programs that are attached to a group.
pub(super) fn attached(group: &impl AsFd) -> nix::Result<Vec<u32>> {
    query(group, 0)
}

/// The numbers of those that hold for it, also of the groups above.
pub(super) fn effective(group: &impl AsFd) -> nix::Result<Vec<u32>> {
    query(group, F_QUERY_EFFECTIVE)
}

fn query(group: &impl AsFd, flags: u32) -> nix::Result<Vec<u32>> {
    let mut ids = vec![0_u32; 64];
    loop {
        let attr = Query {
            group: number(group),
            kind: CGROUP_DEVICE,
            flags,
            attach_flags: 0,
            ids: address(ids.as_mut_ptr()),
            count: length(&ids),
            unused: 0,
        };
        // SAFETY: the array is as long as is said, and lives.
        match unsafe { bpf(PROG_QUERY, attr) } {
            Err(Errno::ENOSPC) if ids.len() < MOST_PROGRAMS => ids.resize(2 * ids.len(), 0),
            Err(errno) => return Err(errno),
            Ok((_, attr)) => {
                ids.truncate(attr.count as usize);
                return Ok(ids);
            }
        }
    }
}

#[repr(C)]
struct Id {
    number: u32,
    next: u32,
    flags: u32,
    token: u32,
}

/// Opens a program by its number.
pub(super) fn program(id: u32) -> nix::Result<OwnedFd> {
    // SAFETY: there are no addresses in it.
    unsafe { open(PROG_GET_FD_BY_ID, Id { number: id, next: 0, flags: 0, token: 0 }) }
}

#[repr(C)]
struct Info {
    fd: u32,
    size: u32,
    buffer: u64,
}

/// What the kernel knows of an object, as far as `T`'s fields go.
///
/// # Safety
///
/// `T` must be the beginning of the kernel's struct for it, of which any content is valid, and addresses in
/// it must be valid for what the kernel writes there.
unsafe fn info<T>(object: &OwnedFd, mut info: T) -> nix::Result<T> {
    let size = u32::try_from(size_of::<T>()).unwrap_or(0);
    let attr = Info { fd: number(object), size, buffer: address(&raw mut info) };
    // SAFETY: the kernel writes no more than the size that is said; for the rest our caller answers.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, attr)? };
    Ok(info)
}

/// The beginning of struct bpf_prog_info.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    jited_size: u32,
    translated_size: u32,
    jited: u64,
    translated: u64,
    loaded: u64,
    user: u32,
    map_count: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// Whether a program is one of ours.
pub(super) fn is_ours(program: &OwnedFd) -> nix::Result<bool> {
    // SAFETY: it is the beginning of that struct, without addresses.
    unsafe { info(program, ProgramInfo::default()) }.map(|info| info.name == NAME)
}

/// The beginning of struct bpf_map_info.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct Create {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    inner: u32,
    node: u32,
    name: [u8; 16],
    interface: u32,
}

#[repr(C)]
struct Element {
    map: u32,
    unused: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Element {
    fn new(map: &OwnedFd, key: *const u32, value: u64) -> Self {
        Self { map: number(map), unused: 0, key: address(key), value, flags: 0 }
    }
}

#[repr(C)]
struct Bind {
    program: u32,
    map: u32,
    flags: u32,
    unused: u32,
}

/// Keeps a text with a program, for as long as that lives (Linux 5.10).
pub(super) fn keep_text(program: &OwnedFd, text: &str) -> nix::Result<()> {
    let attr = Create {
        kind: MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: length(text.as_bytes()),
        entries: 1,
        flags: 0,
        inner: 0,
        node: 0,
        name: NAME,
        interface: 0,
    };
    // SAFETY: there are no addresses in it.
    let map = unsafe { open(MAP_CREATE, attr)? };
    let key = 0_u32;
    let attr = Element::new(&map, &raw const key, address(text.as_ptr()));
    // SAFETY: key and value are as long as the map was made for, and live.
    unsafe { bpf(MAP_UPDATE_ELEM, attr)? };
    let attr = Bind { program: number(program), map: number(&map), flags: 0, unused: 0 };
    // SAFETY: there are no addresses in it.
    unsafe { bpf(PROG_BIND_MAP, attr) }.map(drop)
}

/// The text that is kept with a program.
pub(super) fn text(program: &OwnedFd) -> nix::Result<String> {
    let mut id = 0_u32;
    let wish = ProgramInfo { map_count: 1, map_ids: address(&raw mut id), ..ProgramInfo::default() };
    // SAFETY: it is the beginning of that struct, and there is room for one number.
    unsafe { info(program, wish)? };
    // SAFETY: there are no addresses in it.
    let map = unsafe { open(MAP_GET_FD_BY_ID, Id { number: id, next: 0, flags: 0, token: 0 })? };
    // SAFETY: it is the beginning of that struct, without addresses.
    let found = unsafe { info(&map, MapInfo::default())? };
    if (found.kind, found.key_size, found.name) != (MAP_TYPE_ARRAY, 4, NAME) {
        return Err(Errno::EINVAL);
    }
    let key = 0_u32;
    // The kernel rounds the size of a value up to eight bytes where it copies one.
    let mut text = vec![0_u8; found.value_size.next_multiple_of(8) as usize];
    let attr = Element::new(&map, &raw const key, address(text.as_mut_ptr()));
    // SAFETY: the key is as long as the map says, there is room for its value, and both live.
    unsafe { bpf(MAP_LOOKUP_ELEM, attr)? };
    text.truncate(found.value_size as usize);
    String::from_utf8(text).map_err(|_| Errno::EILSEQ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_log_that_says_why_is_found() {
        let log = b"0: (b7) r0 = 0\nR1 !read_ok\nprocessed 1 insns (limit 1000000)\n\0\0";
        assert_eq!(last_line(log), "R1 !read_ok");
        assert_eq!(last_line(&[0; 8]), "");
    }

    #[test]
    fn the_kernels_structs_have_these_sizes() {
        assert_eq!((size_of::<Load>(), size_of::<Query>(), size_of::<Element>()), (72, 32, 32));
        assert_eq!((size_of::<ProgramInfo>(), size_of::<MapInfo>(), size_of::<Create>()), (80, 40, 48));
    }
}
