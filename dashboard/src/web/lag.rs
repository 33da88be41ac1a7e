//! How far lists are behind, which every page says.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use moka::future::Cache;
use tokio::time::timeout;

use crate::api::Client;
use crate::api::health::Readiness;
use crate::text::times::in_words;

/// Lag of a read model that is worth a mention, in seconds.
const LAG_SHOWN_SECONDS: f64 = 5.0;
/// Time for which pages repeat what was read. Lower: busy pages read the state of the service more often.
const AGE_MAX: Duration = Duration::from_secs(2);
/// Time within which the state of the service must be read. Higher: a slow database delays every page by more.
const READ_TIME_MAX: Duration = Duration::from_millis(500);

/// What is behind, as sentences.
pub(crate) type Lags = Arc<[String]>;

/// What pages say of the lag. It is read rarely, and once for all pages that are requested at the same time.
#[derive(Clone, Debug)]
pub(crate) struct LagMemory(Cache<(), Lags>);

impl LagMemory {
    pub(crate) fn new() -> Self {
        Self(Cache::builder().max_capacity(1).time_to_live(AGE_MAX).build())
    }

    /// Returns what is behind; nothing if that cannot be read, because it is worth less than the page.
    pub(crate) async fn of(&self, api: &Client) -> Lags {
        let read = async {
            match timeout(READ_TIME_MAX, api.readiness()).await {
                Ok(Ok(readiness)) => sentences(&readiness).into(),
                _ => Lags::default(),
            }
        };
        self.0.get_with((), read).await
    }
}

/// Says what is behind, since then pages show the past.
fn sentences(readiness: &Readiness) -> Vec<String> {
    let mut sentences = vec![];
    let (halted, live): (Vec<_>, Vec<_>) = readiness.projections.iter().partition(|model| model.halted);
    if !halted.is_empty() {
        let names: Vec<&str> = halted.iter().map(|model| model.name.as_str()).collect();
        sentences.push(format!(
            "The read model {} has halted at a fact that it cannot apply. Its lists stay as they are; deliveries go on. \
             Tell the operator.",
            names.join(", ")
        ));
    }
    let lag = live.iter().map(|model| model.lag_seconds).fold(0.0, f64::max);
    if lag >= LAG_SHOWN_SECONDS {
        #[expect(clippy::cast_possible_truncation, reason = "a lag of so many seconds is none")]
        let ago = in_words(TimeDelta::try_seconds(lag as i64).unwrap_or_default());
        sentences.push(format!("Lists show the state of {ago} ago. Deliveries are not affected."));
    }
    if let Some(cause) = &readiness.readers_held_back_by {
        sentences.push(format!(
            "An old database transaction holds back deliveries and lists: {cause}. Tell the operator."
        ));
    }
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::health::ReadModel;

    #[test]
    fn only_what_matters_is_said_to_be_behind() {
        let model = |halted, lag_seconds| ReadModel {
            name: "webhook_events".to_owned(),
            halted,
            lag_seconds,
            ..ReadModel::default()
        };
        let said = |models: Vec<ReadModel>| {
            sentences(&Readiness { projections: models, ..Readiness::default() }).join("\n")
        };
        assert_eq!(said(vec![model(false, 0.4), model(false, 4.9)]), "");
        let lag = said(vec![model(false, 12.7), model(false, 0.0)]);
        assert_eq!(lag, "Lists show the state of 12 seconds ago. Deliveries are not affected.");
        assert!(said(vec![model(false, 90.0)]).contains("of 1 minute ago"));
        let halted = said(vec![model(true, 900.0)]);
        assert!(halted.contains("webhook_events has halted") && !halted.contains("ago"), "{halted}");
        let held = Readiness { readers_held_back_by: Some("psql".to_owned()), ..Readiness::default() };
        assert!(sentences(&held)[0].contains("psql"));
    }
}
