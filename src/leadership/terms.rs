//! Terms as leader, one after another: what the roles with a leader have in common.

use std::error::Error;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Delay before taking the lead again after it was lost.
pub(crate) const LEAD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A role that one process performs at a time.
pub(crate) trait LedRole {
    /// The role in `leaderships`.
    const NAME: &'static str;
    /// Why a term ended.
    type Ended: Error + Send + Sync + 'static;

    /// Waits for the lead, and performs the role until `stop` or until the lead is lost. Informs `outage` when the term
    /// has done something.
    ///
    /// # Errors
    /// When the term ended before `stop`.
    fn term(
        &self,
        stop: &CancellationToken,
        outage: &mut Outage,
    ) -> impl Future<Output = Result<(), Self::Ended>> + Send;

    /// Returns the delay before taking the lead again after a term that ended for this reason.
    fn pause_after(_: &Self::Ended) -> Duration {
        LEAD_AGAIN_AFTER
    }
}

/// Whether terms have ended, one after another, since the last one that did something. Only the first end is logged.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    is_logged: bool,
}

impl Outage {
    /// Records that the role is performed.
    pub(crate) fn is_over(&mut self) {
        self.is_logged = false;
    }
}

/// Leads `role` for one term after another, until `stop`.
pub(crate) async fn perform<R: LedRole>(role: &R, stop: &CancellationToken) {
    let mut outage = Outage::default();
    while !stop.is_cancelled() {
        let Err(reason) = role.term(stop, &mut outage).await else { return };
        let pause = R::pause_after(&reason);
        if !outage.is_logged {
            let error = anyhow::Error::from(reason);
            tracing::error!(?error, "the {} lost the lead, will retry", R::NAME);
        }
        outage.is_logged = true;
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
