//! Asking, and telling how long the answers took.

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

use super::Kept;
use super::options::ReadOptions;
use super::questions::{Kind, PAGE_ITEMS, Subject, kinds};
use super::sizes::{self, Relation};
use crate::bench::setup::{Api, BenchTenant};
use crate::clock;

/// The longest answer that is told from longer ones.
const LONGEST_MICROSECONDS: u64 = 600_000_000;
/// How often a question whose token is refused is asked again with a new one.
const LOGINS_MAX: u32 = 5;
/// A kind that takes longer than this is asked less often.
const PATIENCE_SECONDS: f64 = 20.0;

/// How long the answers to one kind of question took, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// The kind.
    pub kind: String,
    /// How often it was asked.
    pub times: u64,
    /// Half of the answers took no longer.
    pub p50: f64,
    /// 95 of 100 took no longer.
    pub p95: f64,
    /// 99 of 100 took no longer.
    pub p99: f64,
}

/// What was found out.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadReport {
    /// Webhooks of the tenant that asked.
    pub events: u64,
    /// Webhooks of all tenants.
    pub events_of_all: Option<u64>,
    /// By kind.
    pub answered: Vec<Answered>,
    /// What there is on disk.
    pub relations: Vec<Relation>,
}

/// Asks every kind of question. When `stop` is cancelled, the report is of what was asked by then.
pub async fn read(options: &ReadOptions, stop: &CancellationToken) -> anyhow::Result<ReadReport> {
    let api = Api::connect_locally(&options.base).await?;
    let kept = Kept::read(&options.kept)?;
    let subject = Subject { destinations: kept.destinations, days: kept.days, now: clock::now() };
    let client = api.log_in(&kept.tenant).await?;
    let mut asking = Asking { api: &api, tenant: &kept.tenant, client };
    let mut answered = Vec::new();
    for kind in kinds() {
        let asked_for = options.only.as_ref().is_none_or(|only| kind.name().contains(only.as_str()));
        if asked_for && !stop.is_cancelled() {
            answered.push(measure(kind, options, &subject, &mut asking, stop).await?);
        }
    }
    let relations = match &options.database_url {
        Some(url) => sizes::measure(url).await?,
        None => Vec::new(),
    };
    let events_of_all = match &options.database_url {
        Some(url) => Some(sizes::events(url).await?),
        None => None,
    };
    Ok(ReadReport { events: kept.events, events_of_all, answered, relations })
}

async fn measure(
    kind: Kind,
    options: &ReadOptions,
    subject: &Subject,
    asking: &mut Asking<'_>,
    stop: &CancellationToken,
) -> anyhow::Result<Answered> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut microseconds = Histogram::<u64>::new_with_bounds(1, LONGEST_MICROSECONDS, 3)?;
    let began = Instant::now();
    for _ in 0..options.repeats {
        if stop.is_cancelled()
            || (began.elapsed().as_secs_f64() > PATIENCE_SECONDS && !microseconds.is_empty())
        {
            break;
        }
        let mut path = kind.ask(subject, &mut rng);
        if kind.is_deep() {
            // Without an answer in time its length is not known, and its first page is slow enough.
            let total = asking.ask(&path).await?.1["total"].as_u64().unwrap_or_default();
            let page = 1 + (total / PAGE_ITEMS) * rng.random_range(1..100) / 100;
            let _ = write!(path, "&Pg={page}");
        }
        if kind.is_by_cursor() {
            // Where there is but one page, it is asked for again.
            if let Some(next) = asking.ask(&path).await?.1["next"].as_str() {
                let _ = write!(path, "&After={next}");
            }
        }
        microseconds.saturating_record(asking.ask(&path).await?.0);
    }
    let milliseconds = |quantile| microseconds.value_at_quantile(quantile) as f64 / 1_000.0;
    Ok(Answered {
        kind: kind.name(),
        times: microseconds.len(),
        p50: milliseconds(0.5),
        p95: milliseconds(0.95),
        p99: milliseconds(0.99),
    })
}

struct Asking<'a> {
    api: &'a Api,
    tenant: &'a BenchTenant,
    client: ApiClient,
}

impl Asking<'_> {
    /// Asks, and returns how many microseconds the answer took, and the answer; `null` when the timeout
    /// elapsed first.
    async fn ask(&mut self, path: &str) -> anyhow::Result<(u64, Value)> {
        for _ in 0..LOGINS_MAX {
            let asked = Instant::now();
            let answer = self.client.get(path).await;
            let took = u64::try_from(asked.elapsed().as_micros())?;
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
    /// The report as Markdown. What is over the bar at the 95th percentile is marked.
    #[must_use]
    pub fn markdown(&self, bar: u32) -> String {
        let mut text = String::from("| Question | p50 ms | p95 ms | p99 ms | |\n|---|---:|---:|---:|---|\n");
        for Answered { kind, p50, p95, p99, .. } in &self.answered {
            let mark = if *p95 > f64::from(bar) { "over" } else { "" };
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
