//! Fills an installation with a history.

use std::time::{Duration, Instant};

use aggregates::ids::{DestinationId, SenderId, TenantId};
use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use projections::{Projection, checkpoints};
use serde_json::json;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use super::copy::copy;
use super::event_generator::{TenantIds, generate};
use super::options::LoadOptions;
use super::{HistoryRecord, now, sizes};
use crate::database;
use crate::setup::{Api, BenchTenant};

/// Events that are copied in one transaction. It is bounded, because open transactions delay readers of the log.
const BATCH_EVENTS: u64 = 2_000;
/// Senders of the measured tenant.
const SENDERS: usize = 10;
/// Interval between checks whether all facts are applied.
const LAG_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Interval between reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// Size of a loaded history, and the time that loading took.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    pub events: u64,
    pub facts: u64,
    /// Time until the last fact was in the log.
    pub copied_in: Duration,
    /// Time until the read models had applied the last fact.
    pub applied_in: Duration,
}

/// Loads a history and waits until the read models have applied it. `report_progress` receives lines for a
/// person. When `stop` is cancelled, the facts loaded so far remain.
///
/// # Errors
///
/// Returns an error when the API or the database cannot be used, the installation has tenants that no
/// benchmark created, or a read model has halted.
pub async fn load(
    options: &LoadOptions,
    stop: &CancellationToken,
    report_progress: impl Fn(&str),
) -> anyhow::Result<Loaded> {
    let api = Api::connect_locally(&options.base).await?;
    let mut connection = database::connect(&options.database_url).await?;
    refuse_other_tenants(&mut connection).await?;

    report_progress("creating tenants, destinations and senders");
    let (tenant, measured) = create_tenant(&api, options.destinations, SENDERS).await?;
    let mut others = Vec::new();
    for _ in 1..options.tenants {
        if stop.is_cancelled() {
            bail!("stopped before any fact was loaded");
        }
        others.push(create_tenant(&api, 1, 0).await?.1);
    }
    let record = HistoryRecord {
        tenant,
        destinations: measured.destinations.iter().map(|id| id.0).collect(),
        events: options.events,
        days: options.days,
    };
    record.write(&options.record)?;

    let began = Instant::now();
    let mut progress = Progress { reported: began, report: report_progress };
    let plan = HistoryPlan::of(options, now());
    let (mut events, mut facts) = (0, 0);
    while events < plan.total && !stop.is_cancelled() {
        let end = plan.total.min(events + BATCH_EVENTS);
        let batch: Vec<_> = (events..end)
            .map(|number| generate(plan.tenant_of(number, &measured, &others), number, plan.at(number)))
            .collect();
        facts += copy(&mut connection, &batch).await?;
        events = end;
        let rate = facts as f64 / began.elapsed().as_secs_f64();
        progress.update(|| format!("{events} of {} webhooks are in the log, {rate:.0} facts/s", plan.total));
    }
    let copied_in = began.elapsed();
    wait_until_applied(&mut connection, stop, &mut progress).await?;
    let applied_in = began.elapsed();
    (progress.report)("vacuuming");
    sizes::vacuum(&mut connection).await?;
    Ok(Loaded { events, facts, copied_in, applied_in })
}

/// Reports progress at most once in [`PROGRESS_INTERVAL`].
struct Progress<F> {
    reported: Instant,
    report: F,
}

impl<F: Fn(&str)> Progress<F> {
    fn update(&mut self, line: impl FnOnce() -> String) {
        if self.reported.elapsed() >= PROGRESS_INTERVAL {
            self.reported = Instant::now();
            (self.report)(&line());
        }
    }
}

async fn wait_until_applied(
    connection: &mut PgConnection,
    stop: &CancellationToken,
    progress: &mut Progress<impl Fn(&str)>,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let lag = lag(connection).await?;
        if lag == 0 {
            break;
        }
        progress.update(|| format!("{lag} facts are not applied to the read models yet"));
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LAG_POLL_INTERVAL) => {}
        }
    }
    Ok(())
}

/// Times and tenants of the events: in the order of time, with the tenants mixed.
struct HistoryPlan {
    total: u64,
    measured: u64,
    begin: DateTime<Utc>,
    length: TimeDelta,
}

impl HistoryPlan {
    fn of(options: &LoadOptions, now: DateTime<Utc>) -> Self {
        let length = TimeDelta::days(i64::from(options.days));
        let total = options.events + (options.tenants - 1) * options.events_of_others;
        Self { total, measured: options.events, begin: now - length, length }
    }

    fn at(&self, number: u64) -> DateTime<Utc> {
        let milliseconds = self.length.num_milliseconds().unsigned_abs();
        let passed = u128::from(milliseconds) * u128::from(number) / u128::from(self.total);
        self.begin + TimeDelta::milliseconds(i64::try_from(passed).unwrap_or_default())
    }

    /// Returns the tenant of an event. Tenants are mixed evenly: after each event the measured tenant has its
    /// share of all events so far.
    fn tenant_of<'a>(&self, number: u64, measured: &'a TenantIds, others: &'a [TenantIds]) -> &'a TenantIds {
        let share = |number: u64| u128::from(number) * u128::from(self.measured) / u128::from(self.total);
        if others.is_empty() || share(number + 1) > share(number) {
            return measured;
        }
        let number = u128::from(number) - share(number);
        &others[(number % others.len() as u128) as usize]
    }
}

/// Fails if the installation has tenants that no benchmark created.
async fn refuse_other_tenants(connection: &mut PgConnection) -> anyhow::Result<()> {
    let others: i64 = sqlx::query_scalar("SELECT count(*) FROM tenants WHERE name NOT LIKE 'bench-%'")
        .fetch_one(connection)
        .await?;
    if others > 0 {
        bail!(
            "this installation has {others} tenants that no benchmark created; the log cannot be emptied again"
        );
    }
    Ok(())
}

/// Creates a tenant with inactive destinations, and senders of the first one.
async fn create_tenant(
    api: &Api,
    destinations: usize,
    senders: usize,
) -> anyhow::Result<(BenchTenant, TenantIds)> {
    let tenant = api.register_tenant().await?;
    let urls: Vec<_> = (0..destinations).map(|n| format!("https://receiver-{n}.example.com/")).collect();
    let targets = api.create_destinations(&tenant, &urls, 10).await?;
    let client = api.log_in(&tenant).await?;
    let mut ids = TenantIds {
        tenant_id: TenantId(tenant.tenant_id),
        destinations: Vec::with_capacity(destinations),
        senders: Vec::with_capacity(senders),
    };
    for target in &targets {
        client.update_destination(target.destination_id, &json!({ "status": "Inactive" })).await?;
        ids.destinations.push(DestinationId(target.destination_id));
    }
    if let Some(target) = targets.first() {
        for number in 0..senders {
            let sender = client.create_sender(target.destination_id, &format!("source {number}")).await?;
            ids.senders.push(SenderId(sender.id));
        }
    }
    Ok((tenant, ids))
}

/// Returns the number of facts that the slowest read model has not applied. Fails when one has halted.
async fn lag(connection: &mut PgConnection) -> anyhow::Result<u64> {
    let lags = checkpoints::lag(connection, &Projection::ALL.map(Projection::name)).await?;
    if let Some(halted) = lags.iter().find(|lag| lag.halted_because.is_some()) {
        bail!("{} has halted: {}", halted.reader, halted.halted_because.as_deref().unwrap_or_default());
    }
    Ok(lags.into_iter().map(|lag| lag.facts).max().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_measured_tenant_gets_its_share_and_the_others_equal_ones() {
        let tenant = |id| TenantIds {
            tenant_id: TenantId(Uuid::from_u128(id)),
            destinations: vec![],
            senders: vec![],
        };
        let now = DateTime::UNIX_EPOCH;
        let plan =
            HistoryPlan { total: 700 + 3 * 100, measured: 700, begin: now, length: TimeDelta::days(1) };
        let (measured, others) = (tenant(1), [tenant(2), tenant(3), tenant(4)]);
        let counts = (1..=4u128).map(|id| {
            let of = |number: &u64| plan.tenant_of(*number, &measured, &others).tenant_id.0.as_u128() == id;
            (0..plan.total).filter(of).count()
        });
        assert_eq!(counts.collect::<Vec<_>>(), [700, 100, 100, 100]);
        let times: Vec<_> = (0..plan.total).map(|number| plan.at(number)).collect();
        assert!(times.is_sorted());
        assert_eq!(times[0], now);
        assert!(times[999] < now + TimeDelta::days(1));
    }
}
