//! Several rounds in three numbers: the median, and how far apart the rounds are.

/// The median of some values, with the least and the greatest.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Spread {
    /// The value in the middle; the mean of the two in the middle if their number is even.
    pub median: f64,
    /// The least value.
    pub least: f64,
    /// The greatest value.
    pub greatest: f64,
}

impl Spread {
    /// The spread of all finite values; `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Self { median, least, greatest })
    }

    /// The spread of `b / a`, taken round by round: a machine that others use drifts by tens of percent within minutes,
    /// and both sides of a round with it. `None` if `a` is 0 in a round.
    pub fn of_ratios(a: &[f64], b: &[f64]) -> Option<Self> {
        assert_eq!(a.len(), b.len(), "rounds of a and of b");
        let ratios: Vec<f64> = a.iter().zip(b).map(|(a, b)| b / a).collect();
        if ratios.iter().all(|ratio| ratio.is_finite()) { Self::of(&ratios) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Median, least and greatest, for odd and even numbers of values and for none.
    #[test]
    fn medians() {
        let spread = |median, least, greatest| Some(Spread { median, least, greatest });
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), spread(2.0, 1.0, 3.0));
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), spread(2.5, 1.0, 4.0));
        assert_eq!(Spread::of(&[7.0, f64::NAN]), spread(7.0, 7.0, 7.0));
        assert_eq!(Spread::of(&[]), None);
    }

    /// A ratio is taken within its round: a machine that slows down changes both sides, not the ratio.
    #[test]
    fn ratios_are_taken_by_round() {
        let (a, b) = ([100.0, 50.0, 10.0], [200.0, 100.0, 25.0]);
        assert_eq!(Spread::of_ratios(&a, &b), Some(Spread { median: 2.0, least: 2.0, greatest: 2.5 }));
        assert_eq!(Spread::of_ratios(&[0.0, 1.0], &[1.0, 1.0]), None);
    }
}
