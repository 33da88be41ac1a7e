//! The demonstration of `dev --demo`: a tenant to look at, and two receivers.
//!
//! It is a client like any other and goes through the HTTP API of the process it runs in. What it made
//! is kept in the data folder, so that it goes on with the same tenant the next time.

mod account;
mod kept;
mod webhooks;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use axum::http::StatusCode;
use secrecy::SecretString;
use tokio::time::timeout;

use crate::lifecycle::Lifecycle;
use crate::listen::{Listener, ListenerSettings};
use account::Account;
use kept::{Kept, KeptDestination};

/// Where the receivers listen if nobody else does.
const WORKING_PORT: u16 = 8484;
const FAILING_PORT: u16 = 8485;

/// How long the first deliveries are waited for, so that they are printed before the summary.
const ARRIVALS_WITHIN: Duration = Duration::from_secs(10);

/// A destination of the demonstration and how to send to it.
struct Destination {
    receiver: SocketAddr,
    ingest_url: String,
}

/// Sets everything up, sends some webhooks, and prints how to go on.
pub(crate) async fn show(base: &str, folder: &Path, lifecycle: &Lifecycle) -> anyhow::Result<()> {
    let mut kept = Kept::read(folder)?;
    let account = Account::enter(base, &mut kept).await?;
    let api_key = account.api_key(&mut kept).await?;
    let secret = account.webhook_secret().await?;

    let working = ListenerSettings { secret: Some(secret), ..ListenerSettings::default() };
    let working = receive(working, kept.working.as_ref(), WORKING_PORT).await?;
    let failing = ListenerSettings {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        quiet: true,
        ..ListenerSettings::default()
    };
    let failing = receive(failing, kept.failing.as_ref(), FAILING_PORT).await?;
    let working_destination = destination(&account, &mut kept, |kept| &mut kept.working, &working).await?;
    let failing_destination = destination(&account, &mut kept, |kept| &mut kept.failing, &failing).await?;

    let mut arrivals = working.subscribe();
    for (name, listener) in [("the working receiver", working), ("the failing receiver", failing)] {
        let stop = lifecycle.drained();
        lifecycle.spawn_supporting(name, async { Ok(listener.serve(stop).await?) });
    }
    let mut expected = 0;
    for webhook in webhooks::FOR_THE_WORKING_RECEIVER {
        expected += usize::from(account.ingest(&working_destination.ingest_url, &api_key, webhook).await?);
    }
    account.ingest(&failing_destination.ingest_url, &api_key, webhooks::FOR_THE_FAILING_RECEIVER).await?;
    let all_arrived = async {
        for _ in 0..expected {
            if arrivals.recv().await.is_err() {
                return;
            }
        }
    };
    let arrived = timeout(ARRIVALS_WITHIN, all_arrived).await.is_ok();

    let summary = Summary { base, folder, kept: &kept, api_key: &api_key, arrived };
    Ok(summary.print(&working_destination, &failing_destination)?)
}

/// A receiver at the port it had before, or at the one that is easy to remember, or at any.
async fn receive(
    settings: ListenerSettings,
    before: Option<&KeptDestination>,
    preferred: u16,
) -> anyhow::Result<Listener> {
    let ports = [before.map_or(preferred, |kept| kept.port), preferred, 0];
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

/// The destination that leads to `listener`: the one of before, moved if need be, or a new one.
async fn destination(
    account: &Account<'_>,
    kept: &mut Kept,
    which: impl Fn(&mut Kept) -> &mut Option<KeptDestination>,
    listener: &Listener,
) -> anyhow::Result<Destination> {
    let receiver = listener.address()?;
    let url = format!("http://{receiver}/webhooks");
    let mut destination = match which(kept).take() {
        Some(destination) => destination,
        None => account.register_destination(&url, receiver.port()).await?,
    };
    if destination.port != receiver.port() {
        account.move_destination(&destination.id, &url).await?;
        destination.port = receiver.port();
    }
    let ingest_url = account.ingest_url(&destination.ingest_token);
    *which(kept) = Some(destination);
    kept.write()?;
    Ok(Destination { receiver, ingest_url })
}

struct Summary<'a> {
    base: &'a str,
    folder: &'a Path,
    kept: &'a Kept,
    api_key: &'a SecretString,
    arrived: bool,
}

impl Summary<'_> {
    /// One thing a line, so that each can be copied with a triple click.
    fn print(&self, working: &Destination, failing: &Destination) -> io::Result<()> {
        use secrecy::ExposeSecret;

        let Self { base, folder, kept, .. } = self;
        let key = self.api_key.expose_secret();
        let mut out = io::stdout().lock();
        writeln!(out, "\nHookSentry is ready.\n")?;
        let lines = [
            ("API", format!("{base}/api/v1")),
            ("To try it", format!("{base}/docs")),
            ("Login", kept.email.clone()),
            ("Password", kept.password.clone()),
            ("Tenant", kept.tenant_id.clone().unwrap_or_default()),
            ("API key", key.to_owned()),
            ("Ingest URL", working.ingest_url.clone()),
            ("  leads to", format!("http://{}, which verifies and prints what arrives", working.receiver)),
            ("Another URL", failing.ingest_url.clone()),
            (
                "  leads to",
                format!("http://{}, which answers 500, so deliveries are retried", failing.receiver),
            ),
            ("Data", folder.display().to_string()),
        ];
        for (name, value) in lines {
            writeln!(out, "  {name:<13}{value}")?;
        }
        let sent =
            if self.arrived { "Some webhooks have arrived." } else { "Some webhooks are on their way." };
        writeln!(out, "\n{sent} Send one of your own:\n")?;
        writeln!(
            out,
            "  curl -i {} -H 'X-Api-Key: {key}' -H 'Content-Type: application/json' -d '{{\"hello\":\"world\"}}'\n",
            working.ingest_url
        )?;
        out.flush()
    }
}
