//! Logging and metrics.
//!
//! The log is written to standard error; `warn` means that a person may have to act, `error` that one must.
//! Metrics are kept in memory and rendered by the API's `/metrics`: there is no second port.

use std::io::{self, IsTerminal};
use std::panic::{self, PanicHookInfo};
use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use sqlx::PgPool;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogSettings};

/// Interval at which histograms are aggregated. Every observation takes memory until then.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Bucket bounds of durations in seconds, from a query to an attempt that timed out.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Bucket bounds of counts, such as the items of a batch or the facts of a page.
const ITEMS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0];

/// Handle of the metrics of this process.
#[derive(Clone, Debug)]
pub struct Telemetry {
    metrics: PrometheusHandle,
}

/// Error of starting the log or the metrics.
#[derive(Debug, Error)]
pub enum TelemetryFailure {
    /// A log was started in this process before.
    #[error("the log cannot be started")]
    Log(#[from] TryInitError),
    /// A recorder was installed in this process before.
    #[error("the metrics cannot be started")]
    Metrics(#[from] BuildError),
}

impl Telemetry {
    /// Starts log and metrics for the whole process. May be called once.
    ///
    /// # Errors
    /// When the process has a log or a recorder of metrics already.
    pub fn start(settings: &LogSettings) -> Result<Self, TelemetryFailure> {
        start_log(settings)?;
        panic::set_hook(Box::new(log_panic));
        Ok(Self { metrics: with_buckets(PrometheusBuilder::new())?.install_recorder()? })
    }

    /// Returns metrics that record nothing, for tests with several services in one process.
    #[must_use]
    pub fn detached() -> Self {
        Self { metrics: PrometheusBuilder::new().build_recorder().handle() }
    }

    /// Renders all metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.metrics.render()
    }

    /// Aggregates histograms, which bounds their memory, and samples the connection pool, until `stop`.
    pub async fn keep_up(self, pool: PgPool, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(UPKEEP_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.metrics.run_upkeep();
            measure_pool(&pool);
        }
    }
}

fn start_log(settings: &LogSettings) -> Result<(), TryInitError> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(settings.filter.filter())
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    match settings.format {
        LogFormat::Text => log.finish().try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).finish().try_init(),
    }
}

fn with_buckets(builder: PrometheusBuilder) -> Result<PrometheusBuilder, BuildError> {
    builder
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_items".to_owned()), &ITEMS)
}

/// Logs a panic as one line in the format of the log, instead of the lines that Rust prints.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let message =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        panic.message = message.unwrap_or("not a text"),
        panic.location = location,
        panic.thread = thread.name().unwrap_or_default(),
        "a thread panicked"
    );
}

fn measure_pool(pool: &PgPool) {
    // The two numbers are not read at the same moment.
    let idle = pool.num_idle();
    let busy = (pool.size() as usize).saturating_sub(idle);
    metrics::gauge!("hooksentry_database_connections", "state" => "idle").set(idle as f64);
    metrics::gauge!("hooksentry_database_connections", "state" => "busy").set(busy as f64);
    metrics::gauge!("hooksentry_database_connections_max")
        .set(f64::from(pool.options().get_max_connections()));
}

#[cfg(test)]
mod tests {
    use metrics::Recorder;

    use super::*;

    #[test]
    fn seconds_and_items_are_rendered_as_histograms() {
        let recorder = with_buckets(PrometheusBuilder::new()).unwrap().build_recorder();
        let record = |name: &'static str, value: f64| {
            let metadata = metrics::Metadata::new("test", metrics::Level::INFO, None);
            recorder.register_histogram(&metrics::Key::from_static_name(name), &metadata).record(value);
        };
        record("hooksentry_attempt_seconds", 0.02);
        record("hooksentry_group_commit_items", 3.0);
        let text = Telemetry { metrics: recorder.handle() }.render();
        assert!(text.contains("hooksentry_attempt_seconds_bucket{le=\"0.025\"} 1"), "{text}");
        assert!(text.contains("hooksentry_group_commit_items_bucket{le=\"2\"} 0"), "{text}");
        assert!(text.contains("hooksentry_group_commit_items_bucket{le=\"4\"} 1"), "{text}");
    }
}
