//! Reads lists of a long history, and measures the latency of the answers.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use hooksentry_client::ApiClient;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::HistoryRecord;
use super::now;
use super::options::ReadOptions;
use super::pages::{self, Browser, PAGES};
use super::queries::{PAGE_ITEMS, QueryContext, QueryKind, kinds};
use super::sizes::{self, Relation};
use crate::setup::{Api, BenchTenant};

/// Longest latency that is distinguished from longer ones.
const LATENCY_MAX_US: u64 = 600_000_000;
/// How often a request is repeated with a new access token after 401.
const LOGINS_MAX: u32 = 5;
/// Time after which no more requests of one kind are made.
const KIND_SECONDS_MAX: f64 = 20.0;

/// Latencies of one kind of request, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QueryLatency {
    pub kind: String,
    /// Number of requests.
    pub times: u64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

/// Report of `bench read`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadReport {
    /// Number of events of the measured tenant.
    pub events: u64,
    /// Number of events of all tenants; `None` without a database URL.
    pub events_of_all: Option<u64>,
    pub latencies: Vec<QueryLatency>,
    /// Disk usage; empty without a database URL.
    pub relations: Vec<Relation>,
}

/// Makes requests of every kind. When `stop` is cancelled, the report covers those made so far.
///
/// # Errors
///
/// Returns an error when the API or the database cannot be used, the record of the history cannot be read, or
/// a request is refused. A request that times out is measured as the timeout.
pub async fn read(options: &ReadOptions, stop: &CancellationToken) -> anyhow::Result<ReadReport> {
    let api = Api::connect_locally(&options.base).await?;
    let record = HistoryRecord::read(&options.record)?;
    let context = QueryContext { destinations: record.destinations, days: record.days, now: now() };
    let client = api.log_in(&record.tenant).await?;
    let mut reader = TimedReader { api: &api, tenant: &record.tenant, client };
    let mut latencies = Vec::new();
    for kind in kinds() {
        let is_selected = options.only.as_ref().is_none_or(|only| kind.name().contains(only.as_str()));
        if is_selected && !stop.is_cancelled() {
            latencies.push(measure(kind, options, &context, &mut reader, stop).await?);
        }
    }
    let pages = PAGES.iter().filter(|(name, _)| {
        options.only.as_ref().is_none_or(|only| name.contains(only.as_str())) && !stop.is_cancelled()
    });
    let mut browser = None;
    for (name, template) in pages {
        let browser = match &mut browser {
            Some(browser) => browser,
            none => none.insert(Browser::sign_in(&api, &record.tenant).await?),
        };
        latencies.push(measure_page(name, template, options, &context, browser).await?);
    }
    let relations = match &options.database_url {
        Some(url) => sizes::measure(url).await?,
        None => Vec::new(),
    };
    let events_of_all = match &options.database_url {
        Some(url) => Some(sizes::events(url).await?),
        None => None,
    };
    Ok(ReadReport { events: record.events, events_of_all, latencies, relations })
}

async fn measure(
    kind: QueryKind,
    options: &ReadOptions,
    context: &QueryContext,
    reader: &mut TimedReader<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<QueryLatency> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut microseconds = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    let began = Instant::now();
    for _ in 0..options.repeats {
        if stop.is_cancelled()
            || (began.elapsed().as_secs_f64() > KIND_SECONDS_MAX && !microseconds.is_empty())
        {
            break;
        }
        let mut path = kind.path(context, &mut rng);
        if kind.is_deep() {
            // After a timeout the length is not known, and the first page is slow enough.
            let total = reader.get(&path).await?.1["total"].as_u64().unwrap_or_default();
            let page = 1 + (total / PAGE_ITEMS) * rng.random_range(1..100) / 100;
            let _ = write!(path, "&Pg={page}");
        }
        if kind.is_by_cursor() {
            // A list of one page has no cursor, so its page is requested again.
            if let Some(next) = reader.get(&path).await?.1["next"].as_str() {
                let _ = write!(path, "&After={next}");
            }
        }
        microseconds.saturating_record(reader.get(&path).await?.0);
    }
    Ok(QueryLatency::of(kind.name(), &microseconds))
}

async fn measure_page(
    name: &str,
    template: &str,
    options: &ReadOptions,
    context: &QueryContext,
    browser: &mut Browser<'_>,
) -> anyhow::Result<QueryLatency> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut microseconds = Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    for _ in 0..options.repeats {
        let path = pages::path(template, context, &mut rng);
        microseconds.saturating_record(browser.read(&path).await?);
    }
    Ok(QueryLatency::of(name.to_owned(), &microseconds))
}

impl QueryLatency {
    fn of(kind: String, microseconds: &Histogram<u64>) -> Self {
        let milliseconds = |quantile| microseconds.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            kind,
            times: microseconds.len(),
            p50: milliseconds(0.5),
            p95: milliseconds(0.95),
            p99: milliseconds(0.99),
        }
    }
}

struct TimedReader<'a> {
    api: &'a Api,
    tenant: &'a BenchTenant,
    client: ApiClient,
}

impl TimedReader<'_> {
    /// Returns the latency in microseconds, and the answer; `null` when the timeout elapsed first.
    async fn get(&mut self, path: &str) -> anyhow::Result<(u64, Value)> {
        for _ in 0..LOGINS_MAX {
            let sent = Instant::now();
            let answer = self.client.get(path).await;
            let took = u64::try_from(sent.elapsed().as_micros())?;
            match answer {
                Ok(answer) => return Ok((took, answer)),
                Err(error) if error.is_timeout() => return Ok((took, Value::Null)),
                // The access token has expired.
                Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => {
                    self.client = self.api.log_in(self.tenant).await?;
                }
                Err(error) => return Err(error).with_context(|| path.to_owned()),
            }
        }
        bail!("{path}: new access tokens are refused")
    }
}

impl ReadReport {
    /// Renders the report as Markdown, and marks kinds whose 95th percentile exceeds `threshold`
    /// milliseconds.
    #[must_use]
    pub fn markdown(&self, threshold: u32) -> String {
        let mut text = String::from("| Request | p50 ms | p95 ms | p99 ms | |\n|---|---:|---:|---:|---|\n");
        for QueryLatency { kind, p50, p95, p99, .. } in &self.latencies {
            let mark = if *p95 > f64::from(threshold) { "over" } else { "" };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {kind} | {p50:.1} | {p95:.1} | {p99:.1} | {mark} |");
        }
        if let Some(events) = self.events_of_all.filter(|events| *events > 0) {
            text.push_str("\n| Table | Index | MiB | Bytes a webhook |\n|---|---|---:|---:|\n");
            for Relation { table, index, bytes } in &self.relations {
                let index = index.as_deref().unwrap_or("");
                let (mebibytes, each) = (bytes / (1 << 20), *bytes as f64 / events as f64);
                let _ = writeln!(text, "| {table} | {index} | {mebibytes} | {each:.1} |");
            }
        }
        text
    }
}
