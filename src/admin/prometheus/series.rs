//! A summary's values since the start, whichever metric they are of.

use crate::admin::Histogram;
use std::borrow::Cow;

/// The values of one summary, or of one key of it.
#[derive(Debug)]
pub(super) struct Series<'m> {
    pub name: &'static str,
    /// Empty where the family has one series only.
    pub key: String,
    pub values: Cow<'m, Histogram>,
    /// What the values are divided by.
    pub unit: f64,
    /// Quantiles as labels and parts per thousand.
    pub quantiles: &'static [(&'static str, u64)],
}
