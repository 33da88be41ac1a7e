//! `hooksentry listen`: receives webhooks, prints them and verifies their signatures.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::http::StatusCode;
use secrecy::SecretString;

use crate::config::{ValueProblem, duration_between, number_between};
use crate::lifecycle::Lifecycle;
use crate::listen::{Listener, ListenerSettings};

/// Receive webhooks, print them and verify their signatures.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// IP address and port to listen on; port 0 chooses a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8484")]
    pub listen: SocketAddr,

    /// Webhook secret (whsec_...) to verify signatures with; without it they are not verified.
    #[arg(long, env = "HOOKSENTRY_WEBHOOK_SECRET", value_name = "SECRET", hide_env_values = true, value_parser = secret)]
    pub secret: Option<SecretString>,

    /// HTTP status of the responses.
    #[arg(long, value_name = "STATUS", default_value = "200", value_parser = status)]
    pub status: StatusCode,

    /// Delay of each response, such as 2s.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration_between(Duration::ZERO, Duration::from_secs(3_600)))]
    pub delay: Duration,

    /// Number of requests at the start that are answered with status 500.
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = number_between::<u64>(0, u64::MAX))]
    pub fail_first: u64,

    /// Share of requests that are answered with status 500, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = number_between::<f64>(0.0, 1.0))]
    pub fail_rate: f64,

    /// Do not print the webhooks.
    #[arg(long)]
    pub quiet: bool,
}

impl Listen {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // No work has to finish at the shutdown.
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        lifecycle.handle_signals()?;
        let address = self.listen;
        let verifies = self.secret.is_some();
        let settings = ListenerSettings {
            address,
            secret: self.secret,
            status: self.status,
            delay: self.delay,
            fail_first: self.fail_first,
            fail_rate: self.fail_rate,
            quiet: self.quiet,
        };
        let listener = Listener::bind(settings, Box::new(io::stdout()))
            .await
            .with_context(|| format!("cannot listen on {address} (--listen chooses another address)"))?;
        let how = if verifies {
            "verifying signatures"
        } else {
            "without a --secret, so signatures are not verified"
        };
        writeln!(io::stdout(), "receiving at http://{}, {how}", listener.address()?)?;
        let stop = lifecycle.intake();
        lifecycle.spawn("the receiver", async { Ok(listener.serve(stop).await?) });
        lifecycle.finish().await?;
        Ok(())
    }
}

fn status(text: &str) -> Result<StatusCode, ValueProblem> {
    text.parse().map_err(|_| ValueProblem("must be an HTTP status such as 200 or 503".to_owned()))
}

#[expect(clippy::unnecessary_wraps, reason = "the signature is that of a parser")]
fn secret(text: &str) -> Result<SecretString, ValueProblem> {
    Ok(SecretString::from(text))
}
