//! Webhooks whose destination leads back to the ingest.

use serde_json::json;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::until;

const SEEDS: usize = 3;
/// One of each seed, and one for each hop that is allowed.
const EVENTS: usize = SEEDS * (1 + 3);

struct Installation {
    database: TestDatabase,
    program: Process,
    tenant: Tenant,
    destination: Destination,
}

impl Installation {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        let program = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
        let tenant = Tenant::register(program.base()).await;
        tenant.resilience(1, 300).await;
        let destination = tenant.destination("https://receiver.example.com/", 10).await;
        Self { database, program, tenant, destination }
    }

    /// Delivers its webhooks to the ingest of an installation.
    async fn deliver_to(&self, next: &Self) {
        let (tenant, token) = (next.tenant.tenant_id(), &next.destination.ingest_token);
        let change = json!({
            "url": format!("{}/api/v1/ingest/{tenant}/{token}", next.program.base()),
            "authType": "ApiKey",
            "credentials": { "headerName": "X-Api-Key", "value": next.tenant.api_key },
        });
        self.tenant.change(&self.destination, change).await;
    }
}

#[tokio::test]
async fn a_webhook_that_goes_round_in_circles_ends() {
    for installations in [1, 2] {
        let mut ring = Vec::new();
        for _ in 0..installations {
            ring.push(Installation::start().await);
        }
        for (index, installation) in ring.iter().enumerate() {
            installation.deliver_to(&ring[(index + 1) % installations]).await;
        }
        for number in 0..SEEDS {
            ring[0].tenant.ingest(&ring[0].destination, &json!({ "number": number })).await;
        }
        let count = async |status: &str| {
            let mut count = 0;
            for installation in &ring {
                count += installation.tenant.count(status).await;
            }
            count
        };
        // The read models of one installation may be behind those of another.
        until("every webhook to end", async || {
            let ended = (count("Succeeded").await, count("CriticalFailure").await);
            (ended == (EVENTS - SEEDS, SEEDS)).then_some(())
        })
        .await;
        for status in ["Pending", "Processing", "WaitingRetry"] {
            assert_eq!(count(status).await, 0, "{status}");
        }
        // The fourth hop leads to the last of an even number of installations.
        let last = &ring[installations - 1].tenant;
        let refused = last.get("events?Qt=1&Status=CriticalFailure").await;
        let id = refused["items"][0]["id"].as_str().expect("an id");
        let attempts = last.get(&format!("events/{id}/attempts")).await;
        let attempt = &attempts["items"][0];
        assert_eq!(attempt["httpStatus"], 508, "{attempt}");
        for installation in ring {
            assert!(installation.program.stop().await.success());
            installation.database.discard().await;
        }
    }
}
