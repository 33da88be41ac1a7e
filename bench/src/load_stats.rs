//! Statistics of a load: counts over time, distributions of latency, and errors by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::rate_series::RateSeries;

/// Longest latency that is distinguished from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(2 * 3_600);
/// Significant decimal digits of latencies.
const DIGITS: u8 = 3;

/// Statistics of a load.
#[derive(Clone)]
pub(crate) struct LoadStats {
    pub(crate) name: String,
    /// Whether its events may be held back by hanging receivers, so that they do not count as missing.
    pub(crate) may_be_held: bool,
    pub(crate) sent: u64,
    pub(crate) accepted: RateSeries,
    pub(crate) delivered: RateSeries,
    pub(crate) accept_us: Histogram<u64>,
    pub(crate) end_to_end_us: Histogram<u64>,
    pub(crate) errors: BTreeMap<SendError, u64>,
}

/// Error by which an event was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SendError {
    /// A status other than 202.
    Status(u16),
    NotConnected,
    ConnectionBroken,
    Timeout,
    Malformed,
}

impl LoadStats {
    pub(crate) fn new(name: &str, may_be_held: bool) -> Self {
        Self {
            name: name.to_owned(),
            may_be_held,
            sent: 0,
            accepted: RateSeries::default(),
            delivered: RateSeries::default(),
            accept_us: histogram(),
            end_to_end_us: histogram(),
            errors: BTreeMap::new(),
        }
    }
}

fn histogram() -> Histogram<u64> {
    let max_us = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, max_us, DIGITS).expect("these bounds are in order")
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotConnected => f.write_str("no connection"),
            Self::ConnectionBroken => f.write_str("connection broken"),
            Self::Timeout => f.write_str("timeout"),
            Self::Malformed => f.write_str("malformed answer"),
        }
    }
}
