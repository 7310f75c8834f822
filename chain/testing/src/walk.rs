//! All that there is to say of a tree of files.

use std::{
    collections::BTreeMap,
    ffi::CStr,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
};

/// Every path below a directory, with its type and mode, owner, size and content, device, link's target, extended
/// attributes and time of modification, and the first of its names if it has several there. Marks of overlayfs are
/// left out.
pub fn walk(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    look(dir, dir, &mut found, &mut BTreeMap::new());
    found
}

fn look(root: &Path, dir: &Path, found: &mut BTreeMap<PathBuf, String>, first: &mut BTreeMap<u64, PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).expect("directory").map(|entry| entry.expect("entry")).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let open = File::open(dir).expect("directory");
    for entry in entries {
        let path = entry.path();
        let short = path.strip_prefix(root).expect("below").to_path_buf();
        let stat = fs::symlink_metadata(&path).expect("metadata");
        let content = match stat.file_type() {
            kind if kind.is_file() => {
                format!("{} bytes {:x}", stat.size(), hash(&fs::read(&path).expect("content")))
            }
            kind if kind.is_symlink() => format!("-> {}", fs::read_link(&path).expect("link").display()),
            _ => format!("device {}", stat.rdev()),
        };
        let name = first.entry(stat.ino()).or_insert_with(|| short.clone());
        let several = if stat.is_dir() { String::new() } else { format!("as {}", name.display()) };
        let line = format!(
            "{:o} {}:{} {content} {}.{:09} {several} {:?}",
            stat.mode(),
            stat.uid(),
            stat.gid(),
            stat.mtime(),
            stat.mtime_nsec(),
            attributes(&open, entry.file_name().as_bytes()),
        );
        found.insert(short, line);
        if stat.is_dir() {
            look(root, &path, found, first);
        }
    }
}

fn attributes(dir: &File, name: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let name = std::ffi::CString::new(name).expect("a name");
    let mut names = Vec::new();
    chain::xattr::list(dir.as_fd(), &name, &mut names).expect("attributes");
    let names =
        names.split_inclusive(|byte| *byte == 0).filter_map(|name| CStr::from_bytes_with_nul(name).ok());
    let value = |attribute: &CStr| {
        let shown = attribute.to_string_lossy().into_owned();
        (!shown.contains(".overlay."))
            .then(|| Some((shown, chain::xattr::get(dir.as_fd(), &name, attribute).expect("value")?)))?
    };
    names.filter_map(value).collect()
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
