//! Connections to the database of the measured service.

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// Connects to the database at `url`.
pub(crate) async fn connect(url: &SecretString) -> anyhow::Result<PgConnection> {
    let options: PgConnectOptions = url.expose_secret().parse()?;
    let options = options.application_name("hooksentry bench");
    let (host, database) = (options.get_host().to_owned(), options.get_database().unwrap_or_default());
    let place = format!("cannot connect to the database {database} at {host}");
    PgConnection::connect_with(&options).await.context(place)
}
