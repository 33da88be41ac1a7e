//! The seven statuses of a webhook event.

/// Where the delivery of a webhook event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted or replayed; no attempt since.
    Pending,
    /// An attempt is under way.
    Processing,
    /// Delivered.
    Succeeded,
    /// An attempt failed, and what follows is not decided yet. It lasts as long as it takes to read the
    /// next fact.
    Failed,
    /// Waits for its next attempt.
    WaitingRetry,
    /// Given up.
    CriticalFailure,
    /// Cancelled.
    Cancelled,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Pending,
        Self::Processing,
        Self::Succeeded,
        Self::Failed,
        Self::WaitingRetry,
        Self::CriticalFailure,
        Self::Cancelled,
    ];

    /// Whether it waits for an attempt.
    #[must_use]
    pub fn is_waiting(self) -> bool {
        matches!(self, Self::Pending | Self::WaitingRetry)
    }

    /// The status's integer in the API.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Pending => 0,
            Self::Processing => 1,
            Self::Succeeded => 2,
            Self::Failed => 3,
            Self::WaitingRetry => 4,
            Self::CriticalFailure => 5,
            Self::Cancelled => 6,
        }
    }

    /// The status's name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Processing => "Processing",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::WaitingRetry => "WaitingRetry",
            Self::CriticalFailure => "CriticalFailure",
            Self::Cancelled => "Cancelled",
        }
    }

    /// The status of a number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|status| i64::from(status.number()) == number)
    }

    /// The status of a name in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name))
    }
}
