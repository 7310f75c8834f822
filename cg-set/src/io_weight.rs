//! `io.weight`: the share of what a device can do. On cgroup v2 iocost and the scheduler bfq give it, each
//! by a file of its own; on v1 only bfq does (Documentation/admin-guide/cgroup-v2.rst and
//! block/bfq-iosched.rst of the kernel).

use std::{fmt, fs, path::Path};

use chain::{Error, Remedy, Result};
use nix::errno::Errno;

use crate::{
    device::{BY_DEVICE, Device},
    each::Each,
    hierarchy::Version,
    io::on_disks,
    limits::{read_text, write},
    value::{weight, whole},
};

const IOCOST: &str = "io.weight";
const BFQ: &str = "io.bfq.weight";
const BFQ_V1: &str = "blkio.bfq.weight";
const BFQ_V1_DEVICES: &str = "blkio.bfq.weight_device";

/// Shares of what devices can do, from 1 to 10,000: one for all devices, and others for some of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    all: Option<u32>,
    own: Option<Each<Device, u32>>,
}

impl Weights {
    /// What every group has.
    const DEFAULT: u32 = 100;
    /// Nothing but that.
    pub(crate) const NONE: Self = Self { all: None, own: None };

    /// `200`, `/dev/sda:50`, or both with a comma between them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (own, all): (Vec<_>, Vec<_>) = text.split(',').partition(|part| part.contains(':'));
        let all = match all.as_slice() {
            [] => None,
            [one] => Some(weight(one)?),
            _ => return Err("there can be only one weight without a device".into()),
        };
        let own = match own.as_slice() {
            [] => None,
            own => Some(Each::parse(&own.join(","), Device::parse, weight, BY_DEVICE)?),
        };
        Ok(Self { all, own })
    }

    /// Finds the disks, and refuses what cannot be had here.
    pub(crate) fn resolve(&self, version: Version, own: &Path) -> Result<Self> {
        if !are_there(version, own) {
            return Err(Error::new("this kernel has no weights for input and output", "")
                .hint("load the scheduler that gives them: modprobe bfq"));
        }
        let own = self.own.as_ref().map(on_disks).transpose()?;
        let other =
            own.iter().flat_map(Each::iter).find(|(disk, _)| version == Version::V1 && !has_bfq(disk));
        if let Some((disk, _)) = other {
            return Err(Error::new(format!("{disk} has another scheduler than bfq"), "").hint(use_bfq(disk)));
        }
        Ok(Self { all: self.all, own })
    }

    /// Writes them to a group, on v2 to both files, so that they hold whichever gives the shares.
    pub(crate) fn set(&self, version: Version, dir: &Path) -> Result<()> {
        if let Some(all) = self.all {
            let files = match version {
                Version::V1 => &[BFQ_V1][..],
                Version::V2 => &[IOCOST, BFQ],
            };
            let there = files.iter().filter(|file| dir.join(file).exists());
            // If none is there, the first one's error says so.
            let first = files.first().filter(|_| !files.iter().any(|file| dir.join(file).exists()));
            there.chain(first).try_for_each(|file| write(dir, file, &for_file(file, all).to_string()))?;
        }
        self.own.iter().flat_map(Each::iter).try_for_each(|(disk, weight)| {
            let file = match version {
                Version::V1 => BFQ_V1_DEVICES,
                Version::V2 if has_bfq(disk) => BFQ,
                Version::V2 => IOCOST,
            };
            write(dir, file, &format!("{disk} {}", for_file(file, *weight)))
                .remedy(Errno::EOPNOTSUPP, &format!("turn iocost on for it, or {}", use_bfq(disk)))
        })
    }

    /// What the kernel has; `None` if that is what every group has.
    pub(crate) fn get(version: Version, dir: &Path) -> Option<Self> {
        let files = match version {
            Version::V1 => &[BFQ_V1, BFQ_V1_DEVICES][..],
            Version::V2 => &[IOCOST, BFQ],
        };
        let mut found = Self::NONE;
        for file in files {
            let Some(text) = read_text(dir, file) else { continue };
            // The file of v1 for all devices has a number only.
            let lines = || text.lines().map(|line| line.split_once(' ').unwrap_or(("default", line)));
            let weight = |text| Some(of_file(file, u32::try_from(whole(text)?).ok()?));
            let all = lines().find(|(of, _)| *of == "default").and_then(|(_, text)| weight(text));
            found.all = found.all.or(all);
            let own = lines().filter_map(|(of, text)| Some((Device::number(of)?, weight(text)?)));
            let known = found.own.iter().flat_map(Each::iter).cloned();
            let own: Vec<_> = known.chain(own).collect();
            found.own = Each::found(own.into_iter());
        }
        found.all = found.all.filter(|all| *all != Self::DEFAULT);
        (found.all.is_some() || found.own.is_some()).then_some(found)
    }

    /// What a group had of these, by what it had of all.
    pub(crate) fn before(&self, all: &Self) -> Self {
        let was = |disk: &Device| all.own.as_ref().and_then(|own| own.get(disk)).copied();
        let given = || self.own.iter().flat_map(Each::iter).map(|(disk, _)| disk);
        // With bfq, a change of the one for all devices undoes those of single ones.
        let undone = all.own.iter().flat_map(Each::iter).map(|(disk, _)| disk);
        let undone = undone.filter(|disk| self.all.is_some() && !given().any(|given| given == *disk));
        let own = given().chain(undone).map(|disk| (disk.clone(), was(disk).unwrap_or(Self::DEFAULT)));
        Self { all: self.all.map(|_| all.all.unwrap_or(Self::DEFAULT)), own: Each::found(own) }
    }

    /// Whether the kernel has what was asked for, but for bfq's rounding.
    pub(crate) fn are_kept_in(&self, kept: &Self) -> bool {
        let same = |asked, kept| asked == kept || to_bfq(asked) == to_bfq(kept);
        let kept_of = |disk| kept.own.as_ref().and_then(|own| own.get(disk)).copied();
        let mut own = self.own.iter().flat_map(Each::iter);
        self.all.is_none_or(|all| same(all, kept.all.unwrap_or(Self::DEFAULT)))
            && own.all(|(disk, weight)| kept_of(disk).is_some_and(|kept| same(*weight, kept)))
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.all, &self.own) {
            (Some(all), Some(own)) => write!(f, "{all},{own}"),
            (None, Some(own)) => own.fmt(f),
            (all, None) => all.unwrap_or(Self::DEFAULT).fmt(f),
        }
    }
}

/// bfq has weights from 1 to 1000, with 100 as the default too. The kernel converts nothing; so does
/// systemd it.
fn to_bfq(weight: u32) -> u32 {
    if weight <= Weights::DEFAULT { weight } else { Weights::DEFAULT + (weight - Weights::DEFAULT) / 11 }
}

fn of_bfq(weight: u32) -> u32 {
    if weight <= Weights::DEFAULT { weight } else { Weights::DEFAULT + (weight - Weights::DEFAULT) * 11 }
}

fn for_file(file: &str, weight: u32) -> u32 {
    if file == IOCOST { weight } else { to_bfq(weight) }
}

fn of_file(file: &str, weight: u32) -> u32 {
    if file == IOCOST { weight } else { of_bfq(weight) }
}

fn has_bfq(disk: &Device) -> bool {
    disk.schedulers().contains("[bfq]")
}

fn use_bfq(disk: &Device) -> String {
    format!("echo bfq > /sys/dev/block/{disk}/queue/scheduler")
}

/// The group at the root has no files of weights, but on v2 one of iocost's; and it can be seen from the
/// disks whether bfq is loaded.
fn are_there(version: Version, own: &Path) -> bool {
    let files = match version {
        Version::V1 => &[BFQ_V1][..],
        Version::V2 => &[IOCOST, BFQ, "io.cost.qos"],
    };
    let mut disks = fs::read_dir("/sys/dev/block").into_iter().flatten().flatten();
    files.iter().any(|file| own.join(file).exists())
        || disks.any(|disk| {
            let list = fs::read_to_string(disk.path().join("queue/scheduler")).unwrap_or_default();
            list.contains("bfq")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_printed() {
        for text in ["100", "1", "10000", "8:0:50", "200,8:0:50,/dev/a:b:10000"] {
            assert_eq!(Weights::parse(text).map(|weights| weights.to_string()), Ok(text.into()));
        }
        for text in ["", "0", "10001", "1,2", "8:0", "8:0:", "8:0:0", "8:0:1,8:0:2", ","] {
            assert!(Weights::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_bfq_rounds_is_not_another_value() {
        let kept = |weight| Weights::parse(weight).expect("a weight");
        for weight in 1..=10_000 {
            let asked = Weights { all: Some(weight), own: None };
            assert!((1..=1000).contains(&to_bfq(weight)));
            assert!(asked.are_kept_in(&Weights { all: Some(of_bfq(to_bfq(weight))), own: None }));
        }
        assert!(kept("100").are_kept_in(&Weights::NONE));
        assert!(!kept("99").are_kept_in(&Weights::NONE));
        assert!(!kept("8:0:99").are_kept_in(&kept("99")));
    }
}
