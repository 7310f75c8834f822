//! What the host's tree is put together from again.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
};

use chain::{Doing, Result, mountinfo};
use rustix::{
    fs::{AtFlags, CWD, StatxFlags, statx},
    io::Errno,
};

/// What stays as it is on the host, with all below it.
pub(crate) const STAYING: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// Filesystems that hold no data but are an interface of the kernel's, wherever they are.
const INTERFACES: [&str; 21] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tracefs",
];

/// A part of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) path: PathBuf,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// A directory that can be changed.
    Overlay,
    /// A directory that cannot be a layer, put together from its entries, which are pieces too.
    Skeleton,
    /// A directory as it is, with all that is mounted below it.
    Staying,
    /// A directory into which the caller cannot look: as it is, with all that is mounted below it, but read-only.
    Closed,
    /// A file as it is, but read-only: there are no overlays of single files.
    File,
    /// A symbolic link in a skeleton.
    Link(PathBuf),
}

/// All pieces, each after the one that it lies in. In a user namespace mounts are `locked` to what they are on
/// (mount_namespaces(7)): what has some below it can be no layer, as that would show what they hide.
pub(crate) fn all(locked: bool) -> Result<Vec<Piece>> {
    let text = fs::read("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo".into())?;
    let mut mounts: Vec<_> =
        mountinfo::mounts(&text).filter_map(|mount| piece(&mount, is_visible(&mount), locked)).collect();
    mounts.sort_by(|one, other| one.path.cmp(&other.path));
    // What lies in what stays comes with it.
    let staying: Vec<_> =
        mounts.iter().filter(|piece| piece.what == What::Staying).map(|piece| piece.path.clone()).collect();
    let in_staying =
        |path: &Path| stays(path) || staying.iter().any(|above| path != above && path.starts_with(above));
    mounts.retain(|piece| !in_staying(&piece.path));
    let usual = STAYING.iter().map(PathBuf::from).filter(|path| path.is_dir());
    let usual: Vec<_> = usual.map(|path| Piece { path, what: What::Staying }).collect();
    if locked {
        let points: Vec<_> = mounts.iter().chain(&usual).cloned().collect();
        let mut pieces = Vec::new();
        expand(Path::new("/"), &points, &mut pieces)?;
        return Ok(pieces);
    }
    mounts.extend(usual);
    Ok(mounts)
}

/// Whether a path stays as it is on the host.
pub(crate) fn stays(path: &Path) -> bool {
    STAYING.iter().any(|staying| path.starts_with(staying))
}

/// Whether it is the mount that its place leads to, and not under another; `None` if the caller may not know.
fn is_visible(mount: &mountinfo::Mount) -> Option<bool> {
    match statx(CWD, &mount.point, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID) {
        Err(Errno::ACCESS) => None,
        found => Some(found.is_ok_and(|found| found.stx_mnt_id == mount.id)),
    }
}

fn piece(mount: &mountinfo::Mount, is_visible: Option<bool>, locked: bool) -> Option<Piece> {
    match is_visible {
        Some(true) => {}
        // It is in the way of a layer all the same.
        None if locked => return Some(Piece { path: mount.point.clone(), what: What::Closed }),
        _ => return None,
    }
    let is_interface = INTERFACES.iter().any(|name| name.as_bytes() == mount.filesystem);
    let what = match mount.point.is_dir() {
        true if is_interface => What::Staying,
        true => What::Overlay,
        false => What::File,
    };
    Some(Piece { path: mount.point.clone(), what })
}

/// Takes a directory apart as far as something is mounted below it.
fn expand(dir: &Path, points: &[Piece], pieces: &mut Vec<Piece>) -> Result<()> {
    let at = points.iter().find(|piece| piece.path == dir);
    let has_below = points.iter().any(|piece| piece.path != dir && piece.path.starts_with(dir));
    if let Some(piece) = at.filter(|piece| piece.what != What::Overlay) {
        pieces.push(piece.clone());
        return Ok(());
    }
    if !has_below {
        pieces.push(Piece { path: dir.into(), what: What::Overlay });
        return Ok(());
    }
    let doing = || format!("list {}", dir.display());
    let listed = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            pieces.push(Piece { path: dir.into(), what: What::Closed });
            return Ok(());
        }
        listed => listed.doing(doing)?,
    };
    pieces.push(Piece { path: dir.into(), what: What::Skeleton });
    let mut entries = listed.collect::<Result<Vec<_>, _>>().doing(doing)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().doing(doing)?);
        if kind.is_dir() {
            expand(&path, points, pieces)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).doing(|| format!("read the link {}", path.display()))?;
            pieces.push(Piece { path, what: What::Link(target) });
        } else if !kind.is_char_device() && !kind.is_block_device() {
            pieces.push(Piece { path, what: What::File });
        }
    }
    Ok(())
}
