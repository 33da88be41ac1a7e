//! Filling an installation with a history.

use std::time::{Duration, Instant};

use aggregates::ids::{DestinationId, SenderId, TenantId};
use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use projections::{Projection, checkpoints};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio_util::sync::CancellationToken;

use super::copy::copy;
use super::event_generator::{TenantFixture, live};
use super::options::LoadOptions;
use super::{Kept, sizes};
use crate::bench::setup::{Api, BenchTenant};
use crate::clock;

/// Webhooks that are copied in one transaction: open transactions hold back the readers of the log.
const BATCH_EVENTS: u64 = 2_000;
/// Senders of the tenant that is measured.
const SENDERS: usize = 10;
/// How often it is looked whether all facts are folded.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);
/// How often progress is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What was loaded, and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Webhooks.
    pub events: u64,
    /// Facts.
    pub facts: u64,
    /// How long the facts took into the log.
    pub copied_in: Duration,
    /// How long it took from the first fact until the read models had the last.
    pub folded_in: Duration,
}

/// Loads a history and waits until it is folded. `tell` hears of progress. When `stop` is cancelled, what
/// is loaded by then stays.
pub async fn load(
    options: &LoadOptions,
    stop: &CancellationToken,
    tell: impl Fn(&str),
) -> anyhow::Result<Loaded> {
    let api = Api::connect_locally(&options.base).await?;
    let mut connection = PgConnection::connect_with(options.database_url.options())
        .await
        .with_context(|| format!("cannot connect to {}", options.database_url))?;
    refuse_strangers(&mut connection).await?;

    tell("making tenants, destinations and senders");
    let (tenant, measured) = household(&api, options.destinations, SENDERS).await?;
    let mut others = Vec::new();
    for _ in 1..options.tenants {
        if stop.is_cancelled() {
            bail!("stopped before anything was loaded");
        }
        others.push(household(&api, 1, 0).await?.1);
    }
    let kept = Kept {
        tenant,
        destinations: measured.destinations.iter().map(|id| id.0).collect(),
        events: options.events,
        days: options.days,
    };
    kept.write(&options.kept)?;

    let began = Instant::now();
    let mut told = began;
    let plan = Plan::of(options, clock::now());
    let (mut events, mut facts) = (0, 0);
    while events < plan.total && !stop.is_cancelled() {
        let until = plan.total.min(events + BATCH_EVENTS);
        let lives: Vec<_> = (events..until)
            .map(|number| live(plan.whose(number, &measured, &others), number, plan.at(number)))
            .collect();
        facts += copy(&mut connection, &lives).await?;
        events = until;
        if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            let rate = facts as f64 / began.elapsed().as_secs_f64();
            tell(&format!("{events} of {} webhooks are in the log, {rate:.0} facts/s", plan.total));
        }
    }
    let copied_in = began.elapsed();

    while !stop.is_cancelled() {
        let behind = behind(&mut connection).await?;
        if behind == 0 {
            break;
        }
        if told.elapsed() >= TOLD_EVERY {
            told = Instant::now();
            tell(&format!("{behind} facts are not folded yet"));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOKED_AT_EVERY) => {}
        }
    }
    let folded_in = began.elapsed();
    tell("vacuuming, as the server's own would have done in the course of such a time");
    sizes::vacuum(&mut connection).await?;
    Ok(Loaded { events, facts, copied_in, folded_in })
}

/// When the webhooks come, and whose they are: in the order of time, the tenants mixed.
struct Plan {
    total: u64,
    measured: u64,
    begin: DateTime<Utc>,
    lasts: TimeDelta,
}

impl Plan {
    fn of(options: &LoadOptions, now: DateTime<Utc>) -> Self {
        let lasts = TimeDelta::days(i64::from(options.days));
        let total = options.events + (options.tenants - 1) * options.events_of_others;
        Self { total, measured: options.events, begin: now - lasts, lasts }
    }

    fn at(&self, number: u64) -> DateTime<Utc> {
        let milliseconds = self.lasts.num_milliseconds().unsigned_abs();
        let passed = u128::from(milliseconds) * u128::from(number) / u128::from(self.total);
        self.begin + TimeDelta::milliseconds(i64::try_from(passed).unwrap_or_default())
    }

    /// Evenly mixed: after each webhook the measured tenant has its share of all until then.
    fn whose<'a>(
        &self,
        number: u64,
        measured: &'a TenantFixture,
        others: &'a [TenantFixture],
    ) -> &'a TenantFixture {
        let share = |number: u64| u128::from(number) * u128::from(self.measured) / u128::from(self.total);
        if others.is_empty() || share(number + 1) > share(number) {
            return measured;
        }
        let number = u128::from(number) - share(number);
        &others[(number % others.len() as u128) as usize]
    }
}

/// Refuses an installation that somebody else uses.
async fn refuse_strangers(connection: &mut PgConnection) -> anyhow::Result<()> {
    let strangers: i64 = sqlx::query_scalar("SELECT count(*) FROM tenants WHERE name NOT LIKE 'bench-%'")
        .fetch_one(connection)
        .await?;
    if strangers > 0 {
        bail!(
            "this installation has {strangers} tenants that no benchmark made; the log cannot be emptied again"
        );
    }
    Ok(())
}

/// Makes a tenant with destinations that are inactive.
async fn household(
    api: &Api,
    destinations: usize,
    senders: usize,
) -> anyhow::Result<(BenchTenant, TenantFixture)> {
    let tenant = api.register_tenant().await?;
    let urls: Vec<_> = (0..destinations).map(|n| format!("https://receiver-{n}.example.com/")).collect();
    let targets = api.create_destinations(&tenant, &urls, 10).await?;
    let client = api.log_in(&tenant).await?;
    let mut household = TenantFixture {
        tenant_id: TenantId(tenant.tenant_id),
        destinations: Vec::with_capacity(destinations),
        senders: Vec::with_capacity(senders),
    };
    for target in &targets {
        client.update_destination(target.destination_id, &json!({ "status": "Inactive" })).await?;
        household.destinations.push(DestinationId(target.destination_id));
    }
    if let Some(target) = targets.first() {
        for number in 0..senders {
            let sender = client.create_sender(target.destination_id, &format!("source {number}")).await?;
            household.senders.push(SenderId(sender.id));
        }
    }
    Ok((tenant, household))
}

/// How many facts the hindmost read model has to fold. Fails when one has halted.
async fn behind(connection: &mut PgConnection) -> anyhow::Result<u64> {
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
    fn the_measured_tenant_gets_its_share_and_every_other_the_same() {
        let house = |id| TenantFixture {
            tenant_id: TenantId(Uuid::from_u128(id)),
            destinations: vec![],
            senders: vec![],
        };
        let now = DateTime::UNIX_EPOCH;
        let plan = Plan { total: 700 + 3 * 100, measured: 700, begin: now, lasts: TimeDelta::days(1) };
        let (measured, others) = (house(1), [house(2), house(3), house(4)]);
        let counts = (1..=4u128).map(|id| {
            let of = |number: &u64| plan.whose(*number, &measured, &others).tenant_id.0.as_u128() == id;
            (0..plan.total).filter(of).count()
        });
        assert_eq!(counts.collect::<Vec<_>>(), [700, 100, 100, 100]);
        let times: Vec<_> = (0..plan.total).map(|number| plan.at(number)).collect();
        assert!(times.is_sorted());
        assert_eq!(times[0], now);
        assert!(times[999] < now + TimeDelta::days(1));
    }
}
