//! Medians and extremes of a few numbers.

/// What a table shows of a row of measurements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub best: f64,
    /// The greatest.
    pub worst: f64,
}

impl Summary {
    /// Of these numbers; none of none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (best, worst) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { count: sorted.len(), median: f64::midpoint(below, above), best, worst })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_whatever_the_order() {
        let of = |numbers: &[f64]| Summary::of(numbers.iter().copied());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[3.0]), Some(Summary { count: 1, median: 3.0, best: 3.0, worst: 3.0 }));
        assert_eq!(of(&[9.0, 1.0, 2.0]), Some(Summary { count: 3, median: 2.0, best: 1.0, worst: 9.0 }));
        assert_eq!(of(&[4.0, 1.0, 2.0, 9.0]).map(|all| all.median), Some(3.0));
    }
}
