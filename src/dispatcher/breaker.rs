//! Taking the steps that circuit breakers ask for. The lane says which; the destination's aggregate
//! decides whether; the fact comes back through the log and changes the lane.

use aggregates::destination::{Destination, DestinationCommand};
use aggregates::ids::{DestinationId, TenantId};
use aggregates::tenant::{Resilience, Tenant};
use chrono::{DateTime, Utc};
use futures::{StreamExt, stream};

use super::Term;
use super::lane::{BreakerStep, LaneState};
use crate::event_store::Metadata;

/// Steps taken at once, each with a connection to the database.
const STEPS_AT_ONCE: usize = 4;

impl Term<'_> {
    pub(super) async fn take_breaker_steps(&mut self, now: DateTime<Utc>) {
        let threshold = self.dispatcher.settings.breaker_threshold;
        let steps = self.schedule.breaker_steps(threshold, now);
        let this = &*self;
        // Side by side: when much fails at once, the jobs of all others wait for this.
        let taken: Vec<_> = stream::iter(steps)
            .map(async |(id, lane, step)| (id, this.take(id, &lane, step, now).await))
            .buffer_unordered(STEPS_AT_ONCE)
            .collect()
            .await;
        for (id, taken) in taken {
            if let Err(error) = taken {
                tracing::warn!(
                    destination.id = %id,
                    error = ?error,
                    "a step of the circuit breaker was not taken; it is tried again"
                );
                self.schedule.ask_again(id);
            }
        }
    }

    async fn take(
        &self,
        id: DestinationId,
        lane: &LaneState,
        step: BreakerStep,
        at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let store = &self.dispatcher.store;
        let command = match step {
            BreakerStep::Open => DestinationCommand::Suspend {
                consecutive_failures: lane.consecutive_failures,
                timer_seconds: self.resilience(lane.tenant_id).await?.circuit_breaker_timer,
                at,
            },
            BreakerStep::HalfOpen => DestinationCommand::Probe { at },
            BreakerStep::Close => DestinationCommand::Resume { at },
        };
        let metadata = Metadata::of_role(lane.tenant_id, "dispatcher");
        store.execute::<Destination>(id.0, command, &metadata).await?;
        tracing::info!(destination.id = %id, step = ?step, "circuit breaker");
        Ok(())
    }

    /// How a tenant wants to be retried, from the tenant's own stream.
    pub(super) async fn resilience(&self, tenant_id: TenantId) -> anyhow::Result<Resilience> {
        let tenant = self.dispatcher.store.load::<Tenant>(tenant_id.0).await?;
        Ok(match tenant.state {
            Tenant::Registered(account) => account.resilience,
            Tenant::Unknown => Resilience::default(),
        })
    }
}
