//! What is known of a load: counts over time, distributions of latency, and errors by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::timeline::Timeline;

/// The slowest thing that is told apart from slower ones.
const SLOWEST: Duration = Duration::from_secs(2 * 3_600);
/// Decimal digits to which latencies are kept.
const DIGITS: u8 = 3;

/// What is known of a load.
#[derive(Clone)]
pub(super) struct LoadTally {
    pub(super) name: String,
    /// Whether some of its events may rightly not arrive for a long time.
    pub(super) may_be_held: bool,
    pub(super) sent: u64,
    pub(super) accepted: Timeline,
    pub(super) delivered: Timeline,
    pub(super) accept_us: Histogram<u64>,
    pub(super) end_to_end_us: Histogram<u64>,
    pub(super) errors: BTreeMap<SendError, u64>,
}

/// Why an event was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SendError {
    /// Another status than 202.
    Status(u16),
    NotConnected,
    Broken,
    Late,
    NotUnderstood,
}

impl LoadTally {
    pub(super) fn new(name: &str, may_be_held: bool) -> Self {
        Self {
            name: name.to_owned(),
            may_be_held,
            sent: 0,
            accepted: Timeline::default(),
            delivered: Timeline::default(),
            accept_us: histogram(),
            end_to_end_us: histogram(),
            errors: BTreeMap::new(),
        }
    }
}

fn histogram() -> Histogram<u64> {
    let slowest_us = u64::try_from(SLOWEST.as_micros()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, slowest_us, DIGITS).expect("these bounds are in order")
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotConnected => f.write_str("no connection"),
            Self::Broken => f.write_str("connection broken"),
            Self::Late => f.write_str("no answer in time"),
            Self::NotUnderstood => f.write_str("answer not understood"),
        }
    }
}
