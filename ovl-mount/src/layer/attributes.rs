//! What an entry of a layer says of a file besides its content.

use std::{
    ffi::{CString, OsStr},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use chain::{Doing, Error, Remedy, Result};
use nix::{errno::Errno, unistd::geteuid};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, openat,
    statat, utimensat,
};
use tar::Entry;

/// How a PAX header gives an extended attribute (OCI image specification 1.1, layer.md, "Extended attributes").
pub(super) const XATTR: &str = "SCHILY.xattr.";
/// The overlay's own, by which it finds files, and which so are no layer's to say.
const OVERLAYS: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Fails for an attribute that would be an overlay's own.
pub(super) fn check(name: &[u8]) -> Result<()> {
    if OVERLAYS.iter().any(|own| name.starts_with(own)) {
        let name = OsStr::from_bytes(name).display();
        return Err(Error::new(format!("its attribute {name}"), "the overlay's own is for no layer to say"));
    }
    Ok(())
}

/// Owner, mode and the rest.
pub(super) struct Attributes {
    mode: Mode,
    owner: (Uid, Gid),
    modified: Timespec,
    extended: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    pub(super) fn of(entry: &mut Entry<impl Read>) -> Result<Self> {
        let bad = |what: &str| Error::new(what.to_owned(), "not a number that a file can have");
        let header = entry.header();
        let fields = header.as_old();
        let mode = number(&fields.mode, header.mode().map(u64::from)).ok_or_else(|| bad("its mode"))?;
        let id = |field: &[u8], id| {
            number(field, id).and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX)
        };
        let owner = (
            id(&fields.uid, header.uid()).ok_or_else(|| bad("its owner"))?,
            id(&fields.gid, header.gid()).ok_or_else(|| bad("its group"))?,
        );
        let seconds = number(&fields.mtime, header.mtime()).and_then(|time| i64::try_from(time).ok());
        let seconds = seconds.ok_or_else(|| bad("its time"))?;
        let mut attributes = Self {
            mode: Mode::from_bits_truncate(u32::try_from(mode & 0o7777).unwrap_or_default()),
            owner: (Uid::from_raw(owner.0), Gid::from_raw(owner.1)),
            modified: Timespec { tv_sec: seconds, tv_nsec: 0 },
            extended: Vec::new(),
        };
        for extension in entry.pax_extensions().doing(|| "read its header".into())?.into_iter().flatten() {
            let extension = extension.doing(|| "read its header".into())?;
            let key = extension.key_bytes();
            if let Some(name) = key.strip_prefix(XATTR.as_bytes()) {
                check(name)?;
                attributes.extended.push((name.to_vec(), extension.value_bytes().to_vec()));
            } else if key.starts_with(b"GNU.sparse.") {
                return Err(Error::new(
                    "its holes",
                    "they are told in a way of GNU tar's own, which is not read",
                )
                .hint("make the layer without --sparse"));
            } else if key == b"mtime" {
                attributes.modified = time(extension.value_bytes()).ok_or_else(|| bad("its time"))?;
            }
        }
        Ok(attributes)
    }
}

/// The number in a field, which may be left empty for zero.
fn number(field: &[u8], parsed: io::Result<u64>) -> Option<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) { Some(0) } else { parsed.ok() }
}

/// `1700000000.25`, or `-3.25`, which is three quarters of a second after -4.
fn time(text: &[u8]) -> Option<Timespec> {
    let text = std::str::from_utf8(text).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(fraction) {
        return None;
    }
    let whole: i64 = seconds.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(if seconds.starts_with('-') && nanos > 0 {
        Timespec { tv_sec: whole.checked_sub(1)?, tv_nsec: 1_000_000_000 - nanos }
    } else {
        Timespec { tv_sec: whole, tv_nsec: nanos }
    })
}

/// What can be given to files here.
pub(super) struct Giver {
    /// Owners, and attributes that only root may give.
    is_root: bool,
    opaque: &'static str,
}

impl Giver {
    pub(super) fn here() -> Self {
        let is_root = geteuid().is_root();
        let is_first = is_root && !chain::in_user_namespace();
        Self { is_root, opaque: if is_first { "trusted.overlay.opaque" } else { "user.overlay.opaque" } }
    }

    /// Hides what the layers below have in the directory.
    pub(super) fn make_opaque(&self, above: &OwnedFd, dir: &Path) -> Result<()> {
        let doing = || "make it opaque".to_owned();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(above, dir, flags, Mode::empty()).doing(doing)?;
        rustix::fs::fsetxattr(dir, self.opaque, b"y", XattrFlags::empty()).doing(doing)
    }

    /// Gives them to the file `name` in `above`, which is no link's target. The mode comes after the owner, which
    /// takes bits of it away, and the time comes last.
    pub(super) fn give(&self, above: &OwnedFd, name: &OsStr, attributes: &Attributes) -> Result<()> {
        let found = statat(above, name, AtFlags::SYMLINK_NOFOLLOW).doing(|| "look at it".into())?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if self.is_root {
            let (user, group) = attributes.owner;
            chownat(above, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
                .doing(|| format!("give it to {}:{}", user.as_raw(), group.as_raw()))
                .remedy(Errno::EINVAL, "this user namespace has no such user or group; map it")?;
        }
        for (attribute, value) in &attributes.extended {
            if self.is_root || attribute.starts_with(b"user.") {
                extend(above, name, attribute, value)?;
            }
        }
        if kind != FileType::Symlink {
            chmodat(above, name, attributes.mode, AtFlags::empty()).doing(|| "set its mode".into())?;
        }
        let times = Timestamps { last_access: attributes.modified, last_modification: attributes.modified };
        utimensat(above, name, &times, AtFlags::SYMLINK_NOFOLLOW).doing(|| "set its time".into())
    }
}

/// A symbolic link has attributes of its own, a pipe or a device is not opened for it.
fn extend(above: &OwnedFd, name: &OsStr, attribute: &[u8], value: &[u8]) -> Result<()> {
    let doing = || format!("set its attribute {}", OsStr::from_bytes(attribute).display());
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|_| Errno::EINVAL).doing(doing);
    chain::xattr::set(above.as_fd(), &text(name.as_bytes())?, &text(attribute)?, value).doing(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_up_to_nine_decimals_that_count() {
        for (text, seconds, nanos) in [
            ("12", 12, 0),
            ("12.5", 12, 500_000_000),
            ("0.0000000019", 0, 1),
            ("-3", -3, 0),
            ("-3.25", -4, 750_000_000),
            ("-0.5", -1, 500_000_000),
        ] {
            let found = time(text.as_bytes()).expect(text);
            assert_eq!((found.tv_sec, found.tv_nsec), (seconds, nanos), "{text}");
        }
        for text in ["", ".", "1.-5", "x", "1.2.3", "99999999999999999999"] {
            assert!(time(text.as_bytes()).is_none(), "{text}");
        }
    }
}
