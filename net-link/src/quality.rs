//! How good one direction of a link is, as it is typed: `loss=10%`, `delay=50ms±10ms`, `rate=2mbit`.
//! The words and what they mean are those of tc-netem(8).

use std::{fmt, str::FromStr, time::Duration};

use chain::{Size, Span};

/// How likely something is, from 0% to 100%, in steps of 0.00001%.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Chance(u32);

impl Chance {
    const DECIMALS: usize = 5;
    /// As many parts make it sure.
    const SURE: u32 = 100 * 10_u32.pow(5);
    /// 100%.
    pub const CERTAIN: Self = Self(Self::SURE);
    /// 0%.
    pub const NEVER: Self = Self(0);

    /// As a part of 2^32, of which the last one is all.
    pub(crate) fn of_all(self) -> u32 {
        u32::try_from(u64::from(self.0) * u64::from(u32::MAX) / u64::from(Self::SURE)).unwrap_or(u32::MAX)
    }

    /// Whether it comes about for a number that is drawn from all of them alike.
    pub(crate) fn comes_about(self, drawn: u32) -> bool {
        // Below 2^32 · 10^7, which fits.
        (u64::from(drawn) * u64::from(Self::SURE)) >> 32 < u64::from(self.0)
    }
}

impl FromStr for Chance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not a part of all; write a percentage from 0% to 100%, such as 2.5%".to_owned();
        let number = text.strip_suffix('%').ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
        };
        if !digits(whole, 3) || !digits(part, Self::DECIMALS) {
            return Err(wrong());
        }
        let parts: u32 = format!("{whole}{part:0<5}").parse().map_err(|_| wrong())?;
        if parts > Self::SURE { Err(wrong()) } else { Ok(Self(parts)) }
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let number = format!("{}.{:05}", self.0 / 100_000, self.0 % 100_000);
        write!(f, "{}%", number.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Which packets are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Each one as likely, whatever became of the one before it.
    Random(Chance),
    /// In bursts: the link is good or bad, and changes between the two (Gilbert 1960, Elliott 1963).
    Burst {
        /// How likely a good link becomes bad, before each packet.
        worsen: Chance,
        /// How likely a bad link becomes good.
        recover: Chance,
        /// How likely a packet is lost while it is bad.
        bad: Chance,
        /// And while it is good.
        good: Chance,
    },
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(chances) = text.strip_prefix("burst:") else { return text.parse().map(Self::Random) };
        let chances: Vec<Chance> = chances.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let (worsen, recover, rest) = match chances.as_slice() {
            [worsen, recover, rest @ ..] if rest.len() <= 2 => (*worsen, *recover, rest),
            _ => {
                return Err(
                    "not a model; write burst:WORSEN,RECOVER[,BAD[,GOOD]], such as burst:1%,20%".into()
                );
            }
        };
        let bad = rest.first().copied().unwrap_or(Chance::CERTAIN);
        let good = rest.get(1).copied().unwrap_or(Chance::NEVER);
        Ok(Self::Burst { worsen, recover, bad, good })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Random(chance) => chance.fmt(f),
            Self::Burst { worsen, recover, bad, good } => write!(f, "burst:{worsen},{recover},{bad},{good}"),
        }
    }
}

/// How delays lie about their mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Alike between mean − jitter and mean + jitter.
    Uniform,
    /// The normal distribution, of which the jitter is the standard deviation.
    Normal,
    /// A Pareto distribution (shape 3), of the same standard deviation: few delays are much longer than most.
    Pareto,
}

const SHAPES: [(&str, Shape); 3] =
    [("uniform", Shape::Uniform), ("normal", Shape::Normal), ("pareto", Shape::Pareto)];

/// How long a packet takes. As packets do not wait for each other, jitter changes their order, as netem's does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// In the mean; at most 1 minute.
    pub mean: Span,
    /// About how much more or less; at most the mean.
    pub jitter: Span,
    /// How delays lie about their mean.
    pub shape: Shape,
}

impl Delay {
    const MOST: Duration = Duration::from_mins(1);
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (times, shape) = text.split_once(':').unwrap_or((text, "uniform"));
        let shape = SHAPES.iter().find(|(name, _)| *name == shape).map(|(_, shape)| *shape);
        let shape = shape.ok_or("not a distribution; those there are: uniform, normal, pareto")?;
        let (mean, jitter) = times.split_once('±').or_else(|| times.split_once("+-")).unwrap_or((times, "0"));
        let (mean, jitter): (Span, Span) = (mean.parse()?, jitter.parse()?);
        if mean.0 > Self::MOST {
            return Err("too long; the most is 1m".into());
        }
        if jitter > mean {
            return Err("a jitter above the delay; no packet arrives before it was sent".into());
        }
        Ok(Self { mean, jitter, shape })
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.mean.fmt(f)?;
        if !self.jitter.0.is_zero() {
            write!(f, "±{}", self.jitter)?;
        }
        match SHAPES.iter().find(|(_, shape)| *shape == self.shape && *shape != Shape::Uniform) {
            Some((name, _)) => write!(f, ":{name}"),
            None => Ok(()),
        }
    }
}

/// How fast a link is, in bits a second, the Ethernet header included. Typed with bit, kbit, mbit or gbit, powers
/// of 1000 and in capitals too, as tc(8) reads them. From 1kbit to 100gbit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub u64);

const RATES: [(&str, u64); 4] = [("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)];

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || "not a rate; write bits a second with bit, kbit, mbit or gbit, such as 2.5mbit".to_owned();
        let text = text.to_ascii_lowercase();
        let (number, unit) = RATES
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .ok_or_else(wrong)?;
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits =
            |text: &str| (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 9 {
            return Err(wrong());
        }
        let whole: u64 = whole.parse().map_err(|_| wrong())?;
        let decimals: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
        // The part is below 10^9 and the unit at most 10^9, so their product fits.
        let rate = whole.saturating_mul(unit).saturating_add(decimals * unit / 1_000_000_000);
        match rate {
            1_000..=100_000_000_000 => Ok(Self(rate)),
            _ => Err("a rate is from 1kbit to 100gbit".into()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match RATES.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}bit", self.0),
        }
    }
}

/// One direction of a link. What is `None` is not done to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quality {
    /// Which packets are lost.
    pub loss: Option<Loss>,
    /// How long each takes.
    pub delay: Option<Delay>,
    /// How many bits a second leave.
    pub rate: Option<Rate>,
    /// How many bytes may wait for that; more are dropped.
    pub queue: Option<Size>,
    /// How likely a packet arrives twice.
    pub duplicate: Option<Chance>,
    /// How likely a packet overtakes the delay.
    pub reorder: Option<Chance>,
    /// How likely one bit of a packet is another.
    pub corrupt: Option<Chance>,
    /// Everything is dropped, and nobody is told.
    pub blackhole: bool,
}

/// One thing about a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trait {
    /// `loss=`
    Loss(Loss),
    /// `delay=`
    Delay(Delay),
    /// `rate=`, or `rate=max` for none
    Rate(Option<Rate>),
    /// `queue=`
    Queue(Size),
    /// `duplicate=`
    Duplicate(Chance),
    /// `reorder=`
    Reorder(Chance),
    /// `corrupt=`
    Corrupt(Chance),
    /// `blackhole`
    Blackhole,
}

impl Trait {
    /// The names that a word of it begins with.
    pub(crate) const NAMES: [&str; 8] =
        ["loss", "delay", "rate", "queue", "duplicate", "reorder", "corrupt", "blackhole"];

    /// What `NAME=VALUE` says; `None` if no trait has this name.
    pub(crate) fn parse(name: &str, value: Option<&str>) -> Option<Result<Self, String>> {
        let parsed = match (name, value) {
            ("loss", Some(value)) => value.parse().map(Self::Loss),
            ("delay", Some(value)) => value.parse().map(Self::Delay),
            ("rate", Some("max")) => Ok(Self::Rate(None)),
            ("rate", Some(value)) => value.parse().map(|rate| Self::Rate(Some(rate))),
            ("queue", Some(value)) => value.parse().map(Self::Queue),
            ("duplicate", Some(value)) => value.parse().map(Self::Duplicate),
            ("reorder", Some(value)) => value.parse().map(Self::Reorder),
            ("corrupt", Some(value)) => value.parse().map(Self::Corrupt),
            ("blackhole", None) => Ok(Self::Blackhole),
            ("blackhole", Some(_)) => Err("takes no value".into()),
            (name, None) if Self::NAMES.contains(&name) => Err(format!("no value; write {name}=VALUE")),
            _ => return None,
        };
        Some(parsed)
    }
}

impl fmt::Display for Trait {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Loss(loss) => write!(f, "loss={loss}"),
            Self::Delay(delay) => write!(f, "delay={delay}"),
            Self::Rate(Some(rate)) => write!(f, "rate={rate}"),
            Self::Rate(None) => f.write_str("rate=max"),
            Self::Queue(size) => write!(f, "queue={size}"),
            Self::Duplicate(chance) => write!(f, "duplicate={chance}"),
            Self::Reorder(chance) => write!(f, "reorder={chance}"),
            Self::Corrupt(chance) => write!(f, "corrupt={chance}"),
            Self::Blackhole => f.write_str("blackhole"),
        }
    }
}

impl Quality {
    /// The same but for one thing.
    pub fn set(&mut self, what: Trait) {
        let likely = |chance: Chance| (chance != Chance::NEVER).then_some(chance);
        match what {
            Trait::Loss(Loss::Random(Chance::NEVER)) => self.loss = None,
            Trait::Loss(loss) => self.loss = Some(loss),
            Trait::Delay(delay) => self.delay = (!delay.mean.0.is_zero()).then_some(delay),
            Trait::Rate(rate) => self.rate = rate,
            Trait::Queue(size) => self.queue = Some(size),
            Trait::Duplicate(chance) => self.duplicate = likely(chance),
            Trait::Reorder(chance) => self.reorder = likely(chance),
            Trait::Corrupt(chance) => self.corrupt = likely(chance),
            Trait::Blackhole => self.blackhole = true,
        }
    }

    /// The words that make it.
    pub fn traits(&self) -> Vec<Trait> {
        let Self { loss, delay, rate, queue, duplicate, reorder, corrupt, blackhole } = *self;
        let all = [
            loss.map(Trait::Loss),
            delay.map(Trait::Delay),
            rate.map(|rate| Trait::Rate(Some(rate))),
            queue.map(Trait::Queue),
            duplicate.map(Trait::Duplicate),
            reorder.map(Trait::Reorder),
            corrupt.map(Trait::Corrupt),
            blackhole.then_some(Trait::Blackhole),
        ];
        all.into_iter().flatten().collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chance_is_a_percentage() {
        for (text, parts) in [("0%", 0), ("100%", 10_000_000), ("2.5%", 250_000), ("0.00001%", 1)] {
            assert_eq!(text.parse(), Ok(Chance(parts)), "{text}");
            assert_eq!(Chance(parts).to_string(), text);
        }
        for text in ["", "10", "%", "-1%", "101%", "1.%", ".5%", "0.000001%", "1e1%", "100.00001%"] {
            assert!(text.parse::<Chance>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_certain_always_comes_about() {
        for drawn in [0, 1, u32::MAX] {
            assert!(Chance::CERTAIN.comes_about(drawn));
            assert!(!Chance::NEVER.comes_about(drawn));
        }
    }

    #[test]
    fn a_delay_has_a_jitter_and_a_shape() {
        let delay: Delay = "50ms±10ms:normal".parse().expect("a delay");
        assert_eq!(
            (delay.mean.0.as_millis(), delay.jitter.0.as_millis(), delay.shape),
            (50, 10, Shape::Normal)
        );
        assert_eq!("50ms+-10ms:normal".parse(), Ok(delay));
        for text in ["", "50", "10ms±50ms", "50ms:odd", "2h", "±1ms", "50ms±"] {
            let parsed = text.parse::<Delay>();
            assert!(parsed.is_err() || text == "50", "{text}: {parsed:?}");
        }
    }

    #[test]
    fn a_rate_is_bits_a_second() {
        for (text, bits) in
            [("2mbit", 2_000_000), ("1.5gbit", 1_500_000_000), ("64kbit", 64_000), ("2Mbit", 2_000_000)]
        {
            assert_eq!(text.parse(), Ok(Rate(bits)), "{text}");
        }
        for text in ["", "2", "2M", "0mbit", "1bit", "200gbit", "mbit", "1..5mbit", "2mbits"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    fn chance() -> impl Strategy<Value = Chance> {
        (0..=Chance::SURE).prop_map(Chance)
    }

    pub(crate) fn a_trait() -> impl Strategy<Value = Trait> {
        let span = |most: u64| (0..=most).prop_map(|micros| Span(Duration::from_micros(micros)));
        let shape = prop_oneof![Just(Shape::Uniform), Just(Shape::Normal), Just(Shape::Pareto)];
        let delay = (span(1_000), span(60_000_000), shape)
            .prop_map(|(jitter, mean, shape)| Trait::Delay(Delay { mean, jitter: jitter.min(mean), shape }));
        let burst = (chance(), chance(), chance(), chance())
            .prop_map(|(worsen, recover, bad, good)| Trait::Loss(Loss::Burst { worsen, recover, bad, good }));
        prop_oneof![
            chance().prop_map(|chance| Trait::Loss(Loss::Random(chance))),
            burst,
            delay,
            (1_000..100_000_000_000_u64).prop_map(|rate| Trait::Rate(Some(Rate(rate)))),
            Just(Trait::Rate(None)),
            any::<u64>().prop_map(|size| Trait::Queue(Size(size))),
            chance().prop_map(Trait::Duplicate),
            chance().prop_map(Trait::Reorder),
            chance().prop_map(Trait::Corrupt),
            Just(Trait::Blackhole),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_what_was_parsed(what in a_trait()) {
            let text = what.to_string();
            let (name, value) = text.split_once('=').map_or((&*text, None), |(name, value)| (name, Some(value)));
            prop_assert_eq!(Trait::parse(name, value), Some(Ok(what)));
        }

        #[test]
        fn no_value_panics(name in 0_usize..8, value in ".{0,40}") {
            let _ = Trait::parse(Trait::NAMES[name], Some(&value));
        }
    }
}
