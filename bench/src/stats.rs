//! What many measurements say: the middle one, and how far a ratio of two middles can be trusted.

/// How often rounds are drawn anew for an interval.
const RESAMPLES: usize = 2000;

/// How much longer one takes than another, as the ratio of their medians.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct Ratio {
    #[serde(rename = "ratio")]
    pub(crate) value: f64,
    /// The lower end of the 95 % interval.
    pub(crate) low: f64,
    /// The upper end of the 95 % interval.
    pub(crate) high: f64,
}

/// The middle value, or the mean of the two in the middle; NaN if there is none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// The ratio of two contestants that were measured in the same rounds.
pub(crate) fn ratio(values: &[f64], reference: &[f64]) -> Ratio {
    of_medians([values, reference], |[value, reference]| value / reference)
}

/// The ratio of two differences, each of what takes part `with` something and what does `without` it.
pub(crate) fn ratio_of_added([with, without]: [&[f64]; 2], reference: [&[f64]; 2]) -> Ratio {
    of_medians([with, without, reference[0], reference[1]], |[with, without, more, less]| {
        (with - without) / (more - less)
    })
}

/// What `calculate` makes of the medians. The interval is a percentile bootstrap over the rounds: what
/// disturbed one round disturbed all that took part, so they are drawn together.
fn of_medians<const N: usize>(times: [&[f64]; N], calculate: impl Fn([f64; N]) -> f64) -> Ratio {
    let count = times[0].len();
    assert!(times.iter().all(|times| times.len() == count), "all take part in every round");
    let mut draws = Draws::new();
    let mut ratios: Vec<_> = (0..RESAMPLES)
        .map(|_| {
            let rounds: Vec<_> = (0..count).map(|_| draws.below(count)).collect();
            calculate(times.map(|all| median(&rounds.iter().map(|round| all[*round]).collect::<Vec<_>>())))
        })
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    Ratio { value: calculate(times.map(median)), low: ratios[tail], high: ratios[RESAMPLES - 1 - tail] }
}

/// Pseudo-random numbers (SplitMix64), the same in every run: the same times give the same interval.
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new() -> Self {
        Self(0x0063_6861_696e_626f)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`. Some come more often than others by bound/2^64, which no count of rounds
    /// makes visible.
    fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.next()) * bound as u128;
        usize::try_from(product >> 64).unwrap_or(0)
    }

    /// Brings `items` into an order of which each is as likely as any other.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Draws {
        fn small(&mut self, bound: u16) -> f64 {
            u16::try_from(self.below(bound.into())).map_or(f64::NAN, f64::from)
        }
    }

    fn close(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert!(close(median(&[9.0, 1.0, 5.0]), 5.0));
        assert!(close(median(&[9.0, 1.0, 5.0, 6.0]), 5.5));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn one_outlier_moves_no_median() {
        assert!(close(median(&[2.0, 2.0, 1e9]), 2.0));
    }

    #[test]
    fn what_always_takes_twice_as_long_has_an_interval_of_one_point() {
        let reference: Vec<_> = (1..100).map(f64::from).collect();
        let doubled: Vec<_> = reference.iter().map(|time| time * 2.0).collect();
        let Ratio { value, low, high } = ratio(&doubled, &reference);
        assert!(close(value, 2.0) && close(low, 2.0) && close(high, 2.0));
    }

    #[test]
    fn what_is_added_is_told_from_what_it_is_added_to() {
        let less: Vec<_> = (1..100).map(f64::from).collect();
        let [more, without, with] =
            [10.0, 500.0, 515.0].map(|added| less.iter().map(|time| time + added).collect::<Vec<_>>());
        let Ratio { value, low, high } = ratio_of_added([&with, &without], [&more, &less]);
        assert!(close(value, 1.5) && close(low, 1.5) && close(high, 1.5));
    }

    #[test]
    fn more_rounds_make_the_interval_narrower() {
        let width = |rounds| {
            let mut draws = Draws::new();
            let mut times = || (0..rounds).map(|_| 100.0 + draws.small(50)).collect::<Vec<_>>();
            let Ratio { low, high, .. } = ratio(&times(), &times());
            high - low
        };
        assert!(width(1000) < width(30) / 2.0);
    }

    /// What is promised: in 95 of 100 runs the true ratio is in the interval. 200 runs of a fixed seed.
    #[test]
    fn the_interval_holds_the_true_ratio_as_often_as_it_says() {
        let mut draws = Draws::new();
        let held = (0..200)
            .filter(|_| {
                let mut times =
                    |middle: f64| (0..41).map(|_| middle + draws.small(1001) - 500.0).collect::<Vec<_>>();
                let Ratio { low, high, .. } = ratio(&times(3000.0), &times(2000.0));
                low <= 1.5 && 1.5 <= high
            })
            .count();
        assert!((182..=199).contains(&held), "held in {held} of 200");
    }

    #[test]
    fn every_order_comes_about_as_often() {
        let mut draws = Draws::new();
        let mut seen = std::collections::BTreeMap::new();
        for _ in 0..6000 {
            let mut order = [0, 1, 2];
            draws.shuffle(&mut order);
            *seen.entry(order).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 6);
        assert!(seen.values().all(|times| (850..1150).contains(times)), "{seen:?}");
    }

    proptest! {
        #[test]
        fn the_ratio_is_in_its_interval(times in proptest::collection::vec((1.0..1e6, 1.0..1e6), 1..40)) {
            let (values, reference): (Vec<_>, Vec<_>) = times.into_iter().unzip();
            let Ratio { value, low, high } = ratio(&values, &reference);
            prop_assert!(low <= high && 0.0 < low && value.is_finite());
        }

        #[test]
        fn draws_stay_below_their_bound(bound in 1_usize..1000) {
            let mut draws = Draws::new();
            prop_assert!((0..100).all(|_| draws.below(bound) < bound));
        }
    }
}
