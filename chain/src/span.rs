//! Spans of time as they are typed: `100ms`, `1.5s`, `2h`.

use std::{fmt, str::FromStr, time::Duration};

/// A span of time. Typed as a number, whole or with decimals, and a unit: ns, us, ms, s, m, h or d;
/// a number alone is seconds, as in timeout(1). From 0 to 2^63 − 1 ns, about 292 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SECOND: u64 = 1_000_000_000;
/// Each unit's name and its nanoseconds, the largest first.
const UNITS: [(&str, u64); 7] = [
    ("d", 24 * 3600 * SECOND),
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
        let unit = match &text[number.len()..] {
            "" => Some(SECOND),
            name => UNITS.iter().find(|(unit, _)| *unit == name).map(|(_, nanos)| *nanos),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (Some(unit), true) = (unit, digits(whole) && digits(part) && part.len() <= 9) else {
            return Err("not a time; write a number with ms, s, m, h or d, such as 1.5s".into());
        };
        // At most 9 digits, so neither the power nor the product overflows.
        let decimals = u128::from(part.parse::<u64>().unwrap_or(0)) * u128::from(unit)
            / 10_u128.pow(u32::try_from(part.len()).unwrap_or(0));
        whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| u128::from(whole).checked_mul(unit.into()))
            .map(|nanos| nanos + decimals)
            .and_then(|nanos| i64::try_from(nanos).ok())
            .map(|nanos| Self(Duration::from_nanos(nanos.cast_unsigned())))
            .ok_or_else(|| "too long a time; the most is 292 years".into())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let exact = |(_, unit): &&(&str, u64)| nanos != 0 && nanos.is_multiple_of(u128::from(*unit));
        match UNITS.iter().find(exact) {
            Some((name, unit)) => write!(f, "{}{name}", nanos / u128::from(*unit)),
            None => f.write_str("0s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_unit_says_what_the_number_counts() {
        for (text, millis) in [
            ("100ms", 100),
            ("1.5s", 1500),
            ("5", 5000),
            ("0.25", 250),
            ("2h", 7_200_000),
            ("1m", 60_000),
            ("1.5d", 129_600_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(millis))), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in
            ["", "s", "-1s", "+1s", "1 s", "1.s", ".5s", "1w", "1S", "1e3", "1.5.5s", "é", "1é", "293000000d"]
        {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_and_parsed_again_it_is_the_same(nanos in 0..i64::MAX.cast_unsigned()) {
            let span = Span(Duration::from_nanos(nanos));
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn no_input_panics(text in "\\PC*", number in "[0-9.]{0,40}", unit in "[a-z]{0,2}") {
            let _ = text.parse::<Span>();
            let _ = format!("{number}{unit}").parse::<Span>();
        }
    }
}
