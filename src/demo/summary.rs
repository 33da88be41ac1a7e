//! What the demonstration prints: where everything is, and a request to try.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

use super::state::DemoState;

pub(super) struct Summary<'a> {
    pub(super) base: &'a str,
    /// Path of the dashboard that signs in once; `None`: there is no dashboard.
    pub(super) sign_in: Option<String>,
    pub(super) folder: &'a Path,
    pub(super) state: &'a DemoState,
    pub(super) api_key: &'a str,
    /// Ingest URLs of the destination that works and of the one that fails.
    pub(super) ingest_urls: [String; 2],
    /// Their receivers, in the same order.
    pub(super) receivers: [SocketAddr; 2],
    /// Whether the first webhooks have been delivered.
    pub(super) arrived: bool,
}

impl Summary<'_> {
    /// Prints one value a line, so that each can be selected with a triple click.
    pub(super) fn print(&self) -> io::Result<()> {
        let Self { base, folder, state, api_key, .. } = self;
        let ([ingest_url, failing_url], [working, failing]) = (&self.ingest_urls, self.receivers);
        let mut out = io::stdout().lock();
        writeln!(out, "\nHookSentry is ready.\n")?;
        if let Some(path) = &self.sign_in {
            writeln!(out, "  {:<15}{base}{path}", "Sign in once")?;
        }
        let lines = [
            ("API", format!("{base}/api/v1")),
            ("API docs", format!("{base}/docs")),
            ("Login", state.email.clone()),
            ("Password", state.password.clone()),
            ("Tenant", state.tenant_id.map(|id| id.to_string()).unwrap_or_default()),
            ("API key", (*api_key).to_owned()),
            ("Ingest URL", ingest_url.clone()),
            ("  delivers to", format!("http://{working}, which verifies and prints webhooks")),
            ("Failing URL", failing_url.clone()),
            ("  delivers to", format!("http://{failing}, which answers 500, so deliveries are retried")),
            ("Data", folder.display().to_string()),
        ];
        for (name, value) in lines {
            writeln!(out, "  {name:<15}{value}")?;
        }
        let sent =
            if self.arrived { "Some webhooks were delivered." } else { "Some webhooks are being delivered." };
        writeln!(out, "\n{sent} Send one of your own:\n")?;
        writeln!(
            out,
            "  curl -i {ingest_url} -H 'X-Api-Key: {api_key}' -H 'Content-Type: application/json' -d '{{\"hello\":\"world\"}}'\n"
        )?;
        out.flush()
    }
}
