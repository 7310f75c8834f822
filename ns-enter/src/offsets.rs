//! The little language of clock offsets: `+1d`, `-30m:+2h`.

use std::{fmt, str::FromStr};

use chain::Span;

/// How far the clocks of a new time namespace are from those of its parent (time_namespaces(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Of CLOCK_MONOTONIC and its relatives.
    pub monotonic: Offset,
    /// Of CLOCK_BOOTTIME and its relatives, and so of /proc/uptime.
    pub boottime: Offset,
}

/// A signed span, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offset(pub i64);

impl FromStr for Offsets {
    type Err = String;

    /// One offset for both, or `MONOTONIC:BOOTTIME`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (monotonic, boottime) = text.split_once(':').unwrap_or((text, text));
        Ok(Self { monotonic: monotonic.parse()?, boottime: boottime.parse()? })
    }
}

impl fmt::Display for Offsets {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.monotonic == self.boottime {
            self.monotonic.fmt(f)
        } else {
            write!(f, "{}:{}", self.monotonic, self.boottime)
        }
    }
}

impl FromStr for Offset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (span, sign) = match text.strip_prefix('-') {
            Some(span) => (span, -1),
            None => (text.strip_prefix('+').unwrap_or(text), 1),
        };
        let Span(span) = span.parse()?;
        // A span is at most i64::MAX nanoseconds.
        Ok(Self(sign * i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sign = if self.0 < 0 { '-' } else { '+' };
        write!(f, "{sign}{}", Span(std::time::Duration::from_nanos(self.0.unsigned_abs())))
    }
}

impl Offset {
    /// Seconds, and nanoseconds from 0 to 999,999,999 to add to them.
    pub(crate) fn parts(self) -> (i64, i64) {
        const SECOND: i64 = 1_000_000_000;
        (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_offset_is_for_both_clocks() {
        let hour = Offset(3_600_000_000_000);
        assert_eq!("+1h".parse(), Ok(Offsets { monotonic: hour, boottime: hour }));
        assert_eq!("1h".parse(), Ok(Offsets { monotonic: hour, boottime: hour }));
        let back = Offset(-500_000_000);
        assert_eq!("-500ms:+1h".parse(), Ok(Offsets { monotonic: back, boottime: hour }));
    }

    #[test]
    fn a_negative_offset_counts_its_nanoseconds_upwards() {
        assert_eq!(Offset(-1).parts(), (-1, 999_999_999));
        assert_eq!(Offset(-1_000_000_000).parts(), (-1, 0));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "+", "-", "--1s", "1s:", ":1s", "1s:1s:1s", "tomorrow"] {
            assert!(text.parse::<Offsets>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(monotonic in -i64::MAX..i64::MAX, boottime in -i64::MAX..i64::MAX) {
            let offsets = Offsets { monotonic: Offset(monotonic), boottime: Offset(boottime) };
            prop_assert_eq!(offsets.to_string().parse(), Ok(offsets));
        }

        #[test]
        fn no_input_panics(text in "\\PC*") {
            let _ = text.parse::<Offsets>();
        }
    }
}
