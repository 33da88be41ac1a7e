//! `hooksentry listen`: a receiver that prints and verifies what arrives.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::http::StatusCode;
use secrecy::SecretString;

use crate::config::{ValueProblem, duration_between, number_between};
use crate::lifecycle::Lifecycle;
use crate::listen::{Listener, ListenerSettings};

/// The receiver.
#[derive(Debug, clap::Args)]
pub struct Listen {
    /// The address and port to receive at. Port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8484")]
    pub listen: SocketAddr,

    /// The webhook secret (whsec_...) to verify signatures with; without it none is verified.
    #[arg(long, env = "HOOKSENTRY_WEBHOOK_SECRET", value_name = "SECRET", hide_env_values = true, value_parser = secret)]
    pub secret: Option<SecretString>,

    /// The status to answer with.
    #[arg(long, value_name = "STATUS", default_value = "200", value_parser = status)]
    pub status: StatusCode,

    /// How long to wait before each answer, such as 2s.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration_between(Duration::ZERO, Duration::from_secs(3_600)))]
    pub delay: Duration,

    /// Answer so many arrivals with 500 before the first good answer.
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = number_between::<u64>(0, u64::MAX))]
    pub fail_first: u64,

    /// Answer this share of arrivals with 500, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "0", value_parser = number_between::<f64>(0.0, 1.0))]
    pub fail_rate: f64,

    /// Print nothing.
    #[arg(long)]
    pub quiet: bool,
}

impl Listen {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        // Nothing is in hand that would be worth waiting for.
        let lifecycle = Lifecycle::new(Duration::from_secs(1));
        lifecycle.attend_to_signals()?;
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
            .with_context(|| format!("{address} cannot be listened to (--listen chooses another address)"))?;
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
