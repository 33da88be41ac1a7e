//! Parsers of option values.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use humantime::format_duration;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;

/// Returns a parser of durations such as `200ms`, `10s` or `6h`, with both bounds allowed.
pub(crate) fn duration_between(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    move |text| match humantime::parse_duration(text) {
        Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
        Ok(_) => Err(format!("must be between {} and {}", format_duration(least), format_duration(most))),
        Err(_) => Err("must be a duration such as 200ms, 10s or 6h".to_owned()),
    }
}

/// Returns a parser of numbers, with both bounds allowed.
pub(crate) fn number_between<T>(
    least: T,
    most: T,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse::<T>() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => Err(format!("must be a number between {least} and {most}")),
    }
}

/// Parses the URL of a PostgreSQL database. It is a secret, because it may contain a password.
pub(crate) fn database_url(text: &str) -> Result<SecretString, String> {
    let is_postgres = text.starts_with("postgres://") || text.starts_with("postgresql://");
    match text.parse::<PgConnectOptions>() {
        Ok(_) if is_postgres => Ok(SecretString::from(text)),
        _ => Err("must be a URL such as postgres://user:password@host/database".to_owned()),
    }
}
