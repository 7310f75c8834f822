//! The values that settings take, as they are typed and as plain data.

use std::{fmt, str::FromStr, time::Duration};

use chain::{Limit, Size, Span};

use crate::{
    device::{BY_DEVICE, Device},
    devices::Devices,
    each::Each,
    io,
    io_weight::Weights,
    misc,
    rdma::{self, Adapter},
};

/// Processor time in microseconds for each [`Cores::PERIOD`]: 100,000 is one core.
/// From 0.01 cores, the least that the kernel takes (min_cfs_quota_period in kernel/sched/core.c),
/// to 100,000 cores; typed with up to five decimals, or in percent of one core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores(pub u64);

impl Cores {
    /// The period in microseconds over which the time is counted; the kernel's default.
    pub const PERIOD: u64 = 100_000;
    const DECIMALS: usize = 5;
    const LEAST: u64 = 1_000;
    const MOST: u64 = 100_000 * Self::PERIOD;

    /// The time in each period of so many microseconds.
    pub(crate) fn quota(self, period: u128) -> u128 {
        u128::from(self.0) * period / u128::from(Self::PERIOD)
    }

    pub(crate) fn of_quota(quota: u64, period: u64) -> Self {
        Self(quota.saturating_mul(Self::PERIOD) / period.max(1))
    }
}

impl FromStr for Cores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, decimals) = match text.strip_suffix('%') {
            Some(percent) => (percent, Self::DECIMALS - 2),
            None => (text, Self::DECIMALS),
        };
        let micros = fixed_point(number, decimals).ok_or(
            "not a number of cores; write such as 2 or 0.5, with up to five decimals, 50% of one core, or max",
        )?;
        match micros {
            Self::LEAST..=Self::MOST => Ok(Self(micros)),
            _ => Err("the kernel takes 0.01 to 100000 cores".into()),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let text = format!("{}.{:05}", self.0 / Self::PERIOD, self.0 % Self::PERIOD);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A number of processes, 1 to 4,194,304 (PID_MAX_LIMIT in include/linux/threads.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl Count {
    const MOST: u32 = 4_194_304;
}

impl FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        whole(text)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (1..=Self::MOST).contains(number))
            .map(Self)
            .ok_or_else(|| format!("not a number of processes; write 1 to {}, or max", Self::MOST))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A part of what there is, in hundredths of a percent: 0.01 to 100 percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(u32);

impl Percent {
    const WHOLE: u32 = 10_000;

    /// So much of `whole`, rounded down.
    pub(crate) fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(Self::WHOLE);
        u64::try_from(part).unwrap_or(whole)
    }
}

/// A number of something, or a part of all that there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount<T> {
    /// So much.
    Number(T),
    /// A part of the machine's, or of the limit that the caller lives under, whichever is less.
    Part(Percent),
}

impl<T: FromStr<Err = String>> FromStr for Amount<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else { return text.parse().map(Self::Number) };
        fixed_point(percent, 2)
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| (1..=Percent::WHOLE).contains(number))
            .map(|number| Self::Part(Percent(number)))
            .ok_or_else(|| "not a percentage; write 0.01% to 100%".into())
    }
}

impl<T: fmt::Display> fmt::Display for Amount<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Part(Percent(hundredths)) => {
                let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
                write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
            }
        }
    }
}

/// The value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Bytes.
    Bytes(Limit<Amount<Size>>),
    /// Processor time.
    Cores(Limit<Cores>),
    /// Processes and threads.
    Count(Limit<Amount<Count>>),
    /// A span of time, in whole microseconds.
    Time(Span),
    /// A share: 1 to 10,000, where 100 is the default of every group.
    Weight(u32),
    /// Off or on.
    Switch(bool),
    /// Numbers and ranges of processors or memory nodes, as cpuset(7) writes them ("List format").
    List(String),
    /// Bytes in a second, of each device.
    Rate(Each<Device, Limit<Size>>),
    /// Operations in a second, of each device.
    Iops(Each<Device, Limit<u32>>),
    /// Shares of what devices can do.
    IoWeight(Weights),
    /// Handles and objects of adapters for remote memory.
    Rdma(Each<String, Adapter>),
    /// Devices that may be opened and made.
    Devices(Devices),
    /// Resources that are counted by number.
    Misc(Each<String, Limit<u64>>),
}

impl Value {
    /// Where a value is of single things, that which limits none of them.
    pub(crate) fn nothing(&self) -> Option<Self> {
        match self {
            Self::Rate(_) => Some(Self::Rate(Each::none())),
            Self::Iops(_) => Some(Self::Iops(Each::none())),
            Self::Misc(_) => Some(Self::Misc(Each::none())),
            Self::Rdma(_) => Some(Self::Rdma(Each::none())),
            Self::IoWeight(_) => Some(Self::IoWeight(Weights::NONE)),
            _ => None,
        }
    }

    pub(crate) fn micros(micros: u64) -> Self {
        Self::Time(Span(Duration::from_micros(micros)))
    }
}

/// `max` or a number, as the kernel writes a limit.
pub(crate) fn limit<T>(text: &str, of: impl FnOnce(u64) -> T) -> Option<Limit<Amount<T>>> {
    match text {
        "max" => Some(Limit::Max),
        number => Some(Limit::At(Amount::Number(of(number.parse().ok()?)))),
    }
}

/// Bytes as the kernel reads them. Percentages are numbers by then.
pub(crate) fn number(bytes: Limit<Amount<Size>>) -> String {
    match bytes {
        Limit::At(Amount::Number(Size(bytes))) => bytes.to_string(),
        Limit::At(Amount::Part(_)) | Limit::Max => "max".into(),
    }
}

/// A value as the kernel reads it.
pub(crate) fn in_numbers(value: &Value) -> String {
    match value {
        Value::Bytes(bytes) => number(*bytes),
        value => value.to_string(),
    }
}

/// What form a setting's value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Bytes,
    Cores,
    Count,
    Time,
    Weight,
    Switch,
    List,
    Rate,
    Iops,
    IoWeight,
    Devices,
    HugePages,
    Rdma,
    Misc,
}

impl Form {
    /// What stands after the `=` in help and errors.
    pub(crate) fn takes(self) -> &'static str {
        match self {
            Self::Bytes | Self::HugePages => "SIZE",
            Self::Cores => "CORES",
            Self::Count => "N",
            Self::Time => "TIME",
            Self::Weight | Self::IoWeight => "WEIGHT",
            Self::Switch => "0|1",
            Self::List => "LIST",
            Self::Rate => "DEV:SIZE",
            Self::Iops => "DEV:N",
            Self::Devices => "none,+DEV:rwm",
            Self::Rdma => "ADAPTER:hca_handle=N,hca_object=N",
            Self::Misc => "RESOURCE:N",
        }
    }

    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Bytes => text.parse().map(Value::Bytes),
            Self::Cores => text.parse().map(Value::Cores),
            Self::Count => text.parse().map(Value::Count),
            Self::Time => match text.parse::<Span>()? {
                span if span.0.as_nanos().is_multiple_of(1_000) => Ok(Value::Time(span)),
                _ => Err("the kernel counts whole microseconds".into()),
            },
            Self::Weight => weight(text).map(Value::Weight),
            Self::Switch => match text {
                "0" => Ok(Value::Switch(false)),
                "1" => Ok(Value::Switch(true)),
                _ => Err("write 1 for on, 0 for off".into()),
            },
            Self::List => {
                if is_list(text) {
                    Ok(Value::List(text.into()))
                } else {
                    Err("not a list; write numbers and ranges with commas, such as 0-3,7".into())
                }
            }
            Self::Rate => Each::parse(text, Device::parse, io::rate, BY_DEVICE).map(Value::Rate),
            Self::Iops => Each::parse(text, Device::parse, io::iops, BY_DEVICE).map(Value::Iops),
            Self::IoWeight => Weights::parse(text).map(Value::IoWeight),
            Self::Devices => Devices::parse(text).map(Value::Devices),
            Self::HugePages => {
                let bytes: Limit<Size> = text.parse()?;
                Ok(Value::Bytes(match bytes {
                    Limit::Max => Limit::Max,
                    Limit::At(size) => Limit::At(Amount::Number(size)),
                }))
            }
            Self::Rdma => rdma::parse(text).map(Value::Rdma),
            Self::Misc => misc::parse(text).map(Value::Misc),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Cores(cores) => cores.fmt(f),
            Self::Count(count) => count.fmt(f),
            Self::Time(span) => span.fmt(f),
            Self::Weight(weight) => weight.fmt(f),
            Self::Switch(on) => f.write_str(if *on { "1" } else { "0" }),
            Self::List(list) => list.fmt(f),
            Self::Rate(each) => each.fmt(f),
            Self::Iops(each) => each.fmt(f),
            Self::IoWeight(weights) => weights.fmt(f),
            Self::Devices(devices) => devices.fmt(f),
            Self::Rdma(each) => each.fmt(f),
            Self::Misc(each) => each.fmt(f),
        }
    }
}

/// A share, from 1 to 10,000.
pub(crate) fn weight(text: &str) -> Result<u32, String> {
    whole(text)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (1..=10_000).contains(number))
        .ok_or_else(|| "not a weight; write 1 to 10000, where 100 is the default".into())
}

/// A whole number, of digits only.
pub(crate) fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// `1.5` with 2 decimals as 150; a number past the end of u64 is the last one.
fn fixed_point(text: &str, decimals: usize) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits(whole) && digits(part) && part.len() <= decimals.max(1))
        .then(|| format!("{whole}{part:0<decimals$}").parse().unwrap_or(u64::MAX))
}

fn is_list(text: &str) -> bool {
    text.split(',').all(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| whole(text).and_then(|number| u16::try_from(number).ok());
        matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_form_is_read() {
        assert_eq!("1.5".parse(), Ok(Cores(150_000)));
        assert_eq!("50%".parse(), Ok(Cores(50_000)));
        assert_eq!("12.5%".parse(), Ok(Cores(12_500)));
        assert_eq!(Form::Time.parse("1.5ms").map(|time| time.to_string()), Ok("1500us".into()));
        assert_eq!("25%".parse::<Amount<Size>>().map(|part| part.to_string()), Ok("25%".into()));
        for text in ["8:0:50M", "/dev/vda:1K,8:0:max", "/a:b:c:2"] {
            assert_eq!(Form::Rate.parse(text).map(|each| each.to_string()), Ok(text.into()));
        }
        assert_eq!(
            Form::Iops.parse("/dev/vda:100,.:max").map(|each| each.to_string()),
            Ok("/dev/vda:100,.:max".into())
        );
        let Ok(Amount::Part(half)) = "50%".parse::<Amount<Count>>() else { panic!("a part") };
        assert_eq!(half.of(u64::MAX), u64::MAX / 2);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let all = [
            (Form::Bytes, &["", "4Q", "-1", "0%", "101%", "1.234%", "%"][..]),
            (
                Form::Cores,
                &["0", "0.001", ".5", "1.", "1.234567", "-1", "1e3", "999999999999999999999", "0.1%", "%"],
            ),
            (Form::Count, &["0", "-1", "+1", "1.5", "4194305", ""]),
            (Form::Time, &["1.5", "", "-1ms", "1ns", "1500ns"][1..]),
            (Form::Weight, &["0", "10001", "", "-1", "max"]),
            (Form::Switch, &["", "yes", "2", "01"]),
            (Form::List, &["", ",", "1,", "a", "3-1", "1-", "-1", "1 2", "70000"]),
            (
                Form::Rate,
                &["", "8:0", "8:0:", ":1M", "8:0:1", "8:0:0", "8:0:1Q", "8:0:5%", "8:0:1M,", "8:0:1M,8:0:2M"],
            ),
            (Form::Rate, &["8:0:18446744073709551615", "/a,b:1M"]),
            (Form::Iops, &["8:0:0", "8:0:1", "8:0:4294967295", "8:0:4294967297", "8:0:1K", "8:0:-1"]),
        ];
        for (form, texts) in all {
            for text in texts {
                assert!(form.parse(text).is_err(), "{form:?} {text:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(
            cores in Cores::LEAST..=Cores::MOST, percent in 1..=Percent::WHOLE, list in "[0-9]{1,3}(-999)?(,[0-9]{1,4})*",
        ) {
            prop_assert_eq!(Cores(cores).to_string().parse(), Ok(Cores(cores)));
            let part = Amount::<Size>::Part(Percent(percent));
            prop_assert_eq!(part.to_string().parse(), Ok(part));
            prop_assert!(is_list(&list));
        }

        #[test]
        fn no_input_panics(text in "\\PC*", number in "[0-9.%,-]{0,30}") {
            for form in [Form::Bytes, Form::Cores, Form::Count, Form::Time, Form::Weight, Form::Switch, Form::List, Form::Rate, Form::Iops, Form::IoWeight] {
                let _ = form.parse(&text);
                let _ = form.parse(&number);
            }
        }
    }
}
