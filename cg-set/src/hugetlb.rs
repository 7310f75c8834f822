//! `hugetlb.SIZE`: huge pages of each size (Documentation/admin-guide/cgroup-v2.rst and
//! cgroup-v1/hugetlb.rst of the kernel).

use std::{fs, path::Path};

use chain::{Error, Limit, Result, Size};

use crate::{
    hierarchy::Version,
    limits::{read_text, write},
    settings::Key,
    value::{Amount, Value, limit, number},
};

/// What v1 shows for no limit is the largest multiple of the size of a page, which is near 2^63.
const NO_LIMIT_ON_V1: u64 = 1 << 62;

/// `hugetlb.2MB` for each size that the kernel has.
pub(crate) fn names() -> Vec<String> {
    sizes().into_iter().map(|size| format!("hugetlb.{size}")).collect()
}

/// The sizes of huge pages, as the kernel names its files.
fn sizes() -> Vec<String> {
    let dirs = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let kib = dirs.filter_map(|dir| {
        dir.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()
    });
    let mut kib: Vec<_> = kib.collect();
    kib.sort_unstable();
    kib.into_iter().map(in_units).collect()
}

/// mem_fmt() in mm/hugetlb_cgroup.c.
fn in_units(kib: u64) -> String {
    match kib {
        0x10_0000.. => format!("{}GB", kib >> 20),
        0x400.. => format!("{}MB", kib >> 10),
        _ => format!("{kib}KB"),
    }
}

/// Refuses a size that the kernel does not have.
pub(crate) fn check(key: Key) -> Result<()> {
    let names = names();
    if names.iter().any(|name| name == key.name) {
        return Ok(());
    }
    let why = "this kernel has no huge pages of this size";
    Err(Error::new(why, "").hint(match names.as_slice() {
        [] => "it has none at all".to_owned(),
        names => format!("there are {}", names.join(", ")),
    }))
}

/// Writes it to a group.
pub(crate) fn set(key: Key, bytes: Limit<Amount<Size>>, version: Version, dir: &Path) -> Result<()> {
    let bytes = match (version, number(bytes)) {
        (Version::V1, max) if max == "max" => "-1".into(),
        (_, bytes) => bytes,
    };
    write(dir, &file(key, version), &bytes)
}

/// What the kernel has; `None` if there is no limit.
pub(crate) fn get(key: Key, version: Version, dir: &Path) -> Option<Value> {
    let bytes = limit(&read_text(dir, &file(key, version))?, Size)?;
    let is_none = matches!(bytes, Limit::Max | Limit::At(Amount::Number(Size(NO_LIMIT_ON_V1..))));
    (!is_none).then_some(Value::Bytes(bytes))
}

fn file(key: Key, version: Version) -> String {
    match version {
        Version::V1 => format!("{}.limit_in_bytes", key.name),
        Version::V2 => format!("{}.max", key.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_named_as_the_kernels_files_are() {
        let names: Vec<_> = [64, 2048, 32_768, 1_048_576, 16_777_216].into_iter().map(in_units).collect();
        assert_eq!(names, ["64KB", "2MB", "32MB", "1GB", "16GB"]);
    }
}
