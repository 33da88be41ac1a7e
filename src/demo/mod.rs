//! The demonstration of `dev --demo`: a tenant with two destinations, and their receivers.
//!
//! It uses the HTTP API of the process that it runs in, as any client does. What it creates is recorded in
//! the data folder, so the next start continues with the same tenant.

mod state;
mod summary;
mod tenant;
mod webhooks;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use axum::http::StatusCode;
use hooksentry_dashboard::SignInLinks;
use tokio::time::timeout;

use crate::lifecycle::Lifecycle;
use crate::listen::{Listener, ListenerSettings};
use state::{DemoDestination, DemoState};
use summary::Summary;
use tenant::DemoTenant;

/// Ports of the receivers, unless they are in use.
const WORKING_PORT: u16 = 8484;
const FAILING_PORT: u16 = 8485;

/// Timeout of the first deliveries, which are printed before the summary.
const ARRIVALS_TIMEOUT: Duration = Duration::from_secs(10);

/// Sets up the tenant and its receivers, sends some webhooks, and prints a summary.
/// Without `links` there is no dashboard.
pub(crate) async fn show(
    base: &str,
    links: Option<&SignInLinks>,
    folder: &Path,
    lifecycle: &Lifecycle,
) -> anyhow::Result<()> {
    let mut state = DemoState::read(folder)?;
    let tenant = DemoTenant::open(base, &mut state).await?;
    let secret = tenant.webhook_secret().await?;

    let working = ListenerSettings { secret: Some(secret), ..ListenerSettings::default() };
    let working = bind(working, state.working.as_ref(), WORKING_PORT).await?;
    let failing = ListenerSettings {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        quiet: true,
        ..ListenerSettings::default()
    };
    let failing = bind(failing, state.failing.as_ref(), FAILING_PORT).await?;
    let to_working = destination(&tenant, state.working.take(), working.address()?).await?;
    let to_failing = destination(&tenant, state.failing.take(), failing.address()?).await?;
    state.working = Some(to_working.clone());
    state.failing = Some(to_failing.clone());
    state.write()?;

    let receivers = [working.address()?, failing.address()?];
    let mut arrivals = working.subscribe();
    for (name, listener) in [("the working receiver", working), ("the failing receiver", failing)] {
        let stop = lifecycle.drained();
        lifecycle.spawn_supporting(name, async { Ok(listener.serve(stop).await?) });
    }
    let mut expected = 0;
    for webhook in webhooks::FOR_THE_WORKING_RECEIVER {
        expected += usize::from(tenant.ingest(&to_working.ingest_token, webhook).await?);
    }
    tenant.ingest(&to_failing.ingest_token, webhooks::FOR_THE_FAILING_RECEIVER).await?;
    let all_arrived = async {
        for _ in 0..expected {
            if arrivals.recv().await.is_err() {
                return;
            }
        }
    };
    let arrived = timeout(ARRIVALS_TIMEOUT, all_arrived).await.is_ok();

    let summary = Summary {
        base,
        sign_in: links.map(|links| links.issue(&state.email, state.password.clone().into())),
        folder,
        state: &state,
        api_key: tenant.api_key(),
        ingest_urls: [&to_working, &to_failing].map(|to| tenant.ingest_url(&to.ingest_token)),
        receivers,
        arrived,
    };
    Ok(summary.print()?)
}

/// Binds a receiver to the port of its destination, else to the preferred port, else to any free port.
async fn bind(
    settings: ListenerSettings,
    destination: Option<&DemoDestination>,
    preferred: u16,
) -> anyhow::Result<Listener> {
    let ports = [destination.map_or(preferred, |destination| destination.port), preferred, 0];
    let mut refusal = None;
    for port in ports {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let settings = ListenerSettings { address, ..settings.clone() };
        match Listener::bind(settings, Box::new(io::stdout())).await {
            Ok(listener) => return Ok(listener),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal.unwrap_or_else(|| io::ErrorKind::AddrInUse.into())).context("no port is free for a receiver")
}

/// Returns a destination with the receiver's URL: the existing one, with a new URL if the receiver's port
/// has changed, or a new one.
async fn destination(
    tenant: &DemoTenant,
    existing: Option<DemoDestination>,
    receiver: SocketAddr,
) -> anyhow::Result<DemoDestination> {
    let (url, port) = (format!("http://{receiver}/webhooks"), receiver.port());
    let Some(destination) = existing else { return tenant.create_destination(&url, port).await };
    if destination.port != port {
        tenant.move_destination(destination.id, &url).await?;
    }
    Ok(DemoDestination { port, ..destination })
}
