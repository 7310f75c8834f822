//! `io.read`, `io.write`, `io.riops` and `io.wiops`: how much may be read and written in a second, for
//! each block device (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/blkio-controller.rst of the
//! kernel). The controller is named io on cgroup v2, and blkio on v1.

use std::path::Path;

use chain::{Error, Limit, Remedy, Result, Size};
use nix::errno::Errno;

use crate::{
    device::Device,
    each::Each,
    hierarchy::Version,
    limits::{read_text, write},
    value::{Value, whole},
};

/// A setting, its file on v1, and its key in io.max on v2.
const THROTTLES: [(&str, &str, &str); 4] = [
    ("io.read", "blkio.throttle.read_bps_device", "rbps"),
    ("io.write", "blkio.throttle.write_bps_device", "wbps"),
    ("io.riops", "blkio.throttle.read_iops_device", "riops"),
    ("io.wiops", "blkio.throttle.write_iops_device", "wiops"),
];
const MAX: &str = "io.max";
const MOST_IOPS: u32 = u32::MAX - 1;

fn throttle(name: &str) -> Option<(&'static str, &'static str)> {
    THROTTLES.iter().find(|(key, ..)| *key == name).map(|(_, file, key)| (*file, *key))
}

/// Bytes in a second. At least 2, because v2 refuses 1 (tg_set_limit() in block/blk-throttle.c), and
/// less than the number that stands for no limit.
pub(crate) fn rate(text: &str) -> Result<Limit<Size>, String> {
    match text.parse()? {
        Limit::At(Size(0 | 1 | u64::MAX)) => {
            Err("the kernel takes 2 to 2^64 - 2 bytes a second, or max".into())
        }
        limit => Ok(limit),
    }
}

/// Operations in a second. v1 keeps only the lower 32 bits of what is written, of which the largest
/// number stands for no limit.
pub(crate) fn iops(text: &str) -> Result<Limit<u32>, String> {
    let number = whole(text).and_then(|number| u32::try_from(number).ok());
    match number {
        None if text == "max" => Ok(Limit::Max),
        Some(number @ 2..=MOST_IOPS) => Ok(Limit::At(number)),
        _ => Err("not a number of operations a second; write 2 to 4294967294, or max".into()),
    }
}

/// Finds the disks, and refuses what cannot be had here.
pub(crate) fn resolve<V: Copy>(
    name: &str,
    each: &Each<Device, V>,
    version: Version,
    own: &Path,
) -> Result<Each<Device, V>> {
    // On v2 the group at the root has no file for it.
    if let Some((file, _)) = throttle(name)
        && version == Version::V1
        && !own.join(file).exists()
    {
        let why = "this kernel cannot limit input and output";
        return Err(Error::new(why, "").hint("it needs CONFIG_BLK_DEV_THROTTLING"));
    }
    on_disks(each)
}

/// The same for disks by their numbers.
pub(crate) fn on_disks<V: Copy>(each: &Each<Device, V>) -> Result<Each<Device, V>> {
    let disks = each.iter().map(|(device, value)| Ok((device.disk()?, *value))).collect::<Result<_>>()?;
    Each::of(disks)
        .map_err(|why| Error::new(why, "").hint("a disk, its partitions and what is on it are one"))
}

/// Writes a limit, in plain numbers, for each device to a group.
pub(crate) fn set<V: Copy>(
    name: &str,
    each: &Each<Device, Limit<V>>,
    number: impl Fn(V) -> u64,
    version: Version,
    dir: &Path,
) -> Result<()> {
    let Some((file, key)) = throttle(name) else { return Ok(()) };
    each.iter().try_for_each(|(device, limit)| {
        let written = match (version, limit) {
            (Version::V1, Limit::Max) => write(dir, file, &format!("{device} 0")),
            (Version::V1, Limit::At(limit)) => write(dir, file, &format!("{device} {}", number(*limit))),
            (Version::V2, Limit::Max) => write(dir, MAX, &format!("{device} {key}=max")),
            (Version::V2, Limit::At(limit)) => write(dir, MAX, &format!("{device} {key}={}", number(*limit))),
        };
        written.remedy(Errno::ENODEV, "the device is gone")
    })
}

/// What the kernel has for the setting of this name; `None` if there is no limit for any device.
pub(crate) fn get(name: &str, version: Version, dir: &Path) -> Option<Value> {
    let (file, key) = throttle(name)?;
    let text = read_text(dir, if version == Version::V1 { file } else { MAX })?;
    let limits = text.lines().filter_map(|line| {
        let (device, rest) = line.split_once(' ')?;
        let number = match version {
            Version::V1 => rest,
            Version::V2 => rest.split(' ').find_map(|field| field.strip_prefix(key)?.strip_prefix('='))?,
        };
        Some((Device::number(device)?, whole(number)?))
    });
    if name.ends_with("iops") {
        let limits =
            limits.map(|(device, number)| (device, Limit::At(u32::try_from(number).unwrap_or(u32::MAX))));
        Each::found(limits).map(Value::Iops)
    } else {
        Each::found(limits.map(|(device, number)| (device, Limit::At(Size(number))))).map(Value::Rate)
    }
}
