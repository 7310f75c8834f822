//! The list of mounts that the kernel gives in /proc/PID/mountinfo (proc_pid_mountinfo(5)).

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Its number, as statx(2) tells it of a file on it. It is given again when the mount is gone.
    pub id: u64,
    /// What of the filesystem is mounted: a directory in it, or a name that the filesystem gives,
    /// such as `net:[4026532177]` for a namespace.
    pub root: PathBuf,
    /// Where it is mounted, as seen from the root of the process whose list this is.
    pub point: PathBuf,
    /// The kind of filesystem, such as `ext4`.
    pub filesystem: &'a [u8],
    /// The options of the filesystem, with commas between them.
    pub options: &'a [u8],
}

impl Mount<'_> {
    /// Whether the filesystem has an option of just this text.
    pub fn has_option(&self, text: &str) -> bool {
        self.options.split(|byte| *byte == b',').any(|option| option == text.as_bytes())
    }

    /// The value of the filesystem's option of this name, if that is a path.
    pub fn value(&self, name: &str) -> Option<PathBuf> {
        let mut options = self.options.split(|byte| *byte == b',');
        options.find_map(|option| option.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).map(unescape)
    }
}

/// The mounts in the text of a mountinfo file, in its order. Lines that are not of the form are left
/// out.
pub fn mounts(mountinfo: &[u8]) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(mount)
}

fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let (root, point) = (fields.nth(2)?, fields.next()?);
    // The mount's own options, then any number of optional fields, which a dash ends.
    fields.next()?;
    fields.find(|field| *field == b"-")?;
    let (filesystem, _source, options) = (fields.next()?, fields.next()?, fields.next()?);
    Some(Mount { id, root: unescape(root), point: unescape(point), filesystem, options })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash, and in options for the comma.
fn unescape(field: &[u8]) -> PathBuf {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, after)) = rest.split_first() {
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if byte == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    OsString::from_vec(plain).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::ffi::OsStrExt, path::Path};

    use proptest::prelude::*;

    #[test]
    fn the_optional_fields_may_be_none_or_many() {
        let text = b"27 1 254:0 / / rw - ext4 /dev/vda rw
41 31 0:38 /a /sys/fs/cgroup rw shared:3 master:1 - cgroup2 cgroup2 rw,nsdelegate
";
        let found: Vec<_> = mounts(text).collect();
        assert_eq!(found.iter().map(|mount| mount.id).collect::<Vec<_>>(), [27, 41]);
        assert_eq!((found[0].filesystem, found[0].options), (&b"ext4"[..], &b"rw"[..]));
        assert_eq!(found[1].root, Path::new("/a"));
        assert!(found[1].has_option("nsdelegate") && !found[1].has_option("ns"));
    }

    #[test]
    fn what_the_kernel_escapes_in_a_name_is_undone() {
        let text = b"35 31 0:31 / /mnt/a\\040b\\011c\\012d\\134040 rw - tmpfs none rw\n";
        assert_eq!(mounts(text).next().expect("a mount").point, Path::new("/mnt/a b\tc\nd\\040"));
    }

    #[test]
    fn an_option_of_a_filesystem_may_be_a_path() {
        let text = b"68 44 0:39 / /here rw - overlay overlay rw,lowerdir=/a,upperdir=/b\\054\\040c,uuid=on";
        let mount = mounts(text).next().expect("a mount");
        assert_eq!(mount.value("upperdir").as_deref(), Some(Path::new("/b, c")));
        assert_eq!((mount.value("upper"), mount.value("rw")), (None, None));
    }

    #[test]
    fn a_line_of_another_form_is_left_out() {
        assert_eq!(mounts(b"\nnonsense\n1 2 3 4 5 6 7\n1 2 3 4 5 6 - ext4\n").count(), 0);
    }

    proptest! {
        #[test]
        fn any_name_comes_back(name in proptest::collection::vec(1_u8.., 0..40)) {
            let escape = |byte: &u8| match byte {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                _ => vec![*byte],
            };
            let escaped: Vec<_> = name.iter().flat_map(escape).collect();
            let line = [b"1 2 0:1 / ", &escaped[..], b" rw - tmpfs none rw"].concat();
            let found = mounts(&line).next().expect("a mount").point;
            prop_assert_eq!(found.as_os_str().as_bytes(), name);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), line in "[ -~]{0,80}") {
            let _ = mounts(&bytes).count();
            let _ = mounts(format!("1 1 0:1 {line} - tmpfs none rw,{line}").as_bytes()).count();
        }
    }
}
