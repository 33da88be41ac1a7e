//! How values of settings are written: what each kind of value looks like and between which bounds it
//! must lie.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use aggregates::ids::TenantId;
use axum::http::HeaderValue;
use humantime::format_duration;
use ipnet::IpNet;
use thiserror::Error;
use url::Url;

use crate::fair_share::Weights;

/// The largest weight of a tenant.
const WEIGHT_MAX: u16 = 1_000;

/// Why a value is not taken, as a phrase that goes on after the setting and its value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ValueProblem(pub String);

fn problem<T>(text: impl Into<String>) -> Result<T, ValueProblem> {
    Err(ValueProblem(text.into()))
}

/// A duration such as `200ms`, `10s` or `6h`.
pub(crate) fn duration_between(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, ValueProblem> + Clone + Send + Sync + 'static {
    move |text| match humantime::parse_duration(text) {
        Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
        Ok(_) => {
            problem(format!("must lie between {} and {}", format_duration(least), format_duration(most)))
        }
        Err(_) => problem("must be a duration such as 200ms, 10s or 6h"),
    }
}

/// A number without a unit.
pub(crate) fn number_between<T>(
    least: T,
    most: T,
) -> impl Fn(&str) -> Result<T, ValueProblem> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| match text.parse::<T>() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => problem(format!("must be a number between {least} and {most}")),
    }
}

/// A size such as `1048576`, `512KiB` or `1MiB`.
pub(super) fn bytes_between(
    least: usize,
    most: usize,
) -> impl Fn(&str) -> Result<usize, ValueProblem> + Clone + Send + Sync + 'static {
    move |text| {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("", 1)];
        let (digits, unit) = units
            .into_iter()
            .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?.trim_end(), unit)))
            .unwrap_or((text, 1));
        match digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit)) {
            Some(bytes) if (least..=most).contains(&bytes) => Ok(bytes),
            Some(_) => problem(format!("must lie between {least} and {most} bytes")),
            None => problem("must be a number of bytes such as 1048576, 512KiB or 1MiB"),
        }
    }
}

/// `true` or `false`.
pub(super) fn truth(text: &str) -> Result<bool, ValueProblem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => problem("must be true or false"),
    }
}

/// An address and a port to listen to.
pub(super) fn address(text: &str) -> Result<SocketAddr, ValueProblem> {
    text.parse().or_else(|_| problem("must be an IP address and a port such as 127.0.0.1:5143 or [::]:5143"))
}

/// Networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

/// Networks such as `10.0.0.0/8,fd00::/8`; a single address is a network of one.
pub(super) fn networks(text: &str) -> Result<Networks, ValueProblem> {
    let network = |word: &str| {
        let word = word.trim();
        word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from))
    };
    let networks = text.split(',').map(network).collect::<Option<Vec<IpNet>>>();
    match networks {
        Some(networks) => Ok(Networks(networks)),
        None => problem("must be networks such as 10.0.0.0/8,fd00::/8"),
    }
}

/// What each of some tenants gets of a round, such as
/// `0190a5c2-6f7e-7c1d-9e0b-3f4a5b6c7d8e=3,0190a5c2-7a81-7b90-8c2d-1e2f3a4b5c6d=10`.
pub(super) fn weights(text: &str) -> Result<Weights, ValueProblem> {
    let mut weights = HashMap::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let pair = word.split_once('=').and_then(|(tenant, weight)| {
            let tenant = tenant.trim().parse().ok().map(TenantId)?;
            let weight =
                weight.trim().parse::<u16>().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight))?;
            Some((tenant, weight))
        });
        let Some((tenant, weight)) = pair else {
            return problem(format!(
                "must be TENANT=WEIGHT,... with ids of tenants and weights from 1 to {WEIGHT_MAX}"
            ));
        };
        if weights.insert(tenant, weight).is_some() {
            return problem(format!("must name each tenant once; {tenant} is there twice"));
        }
    }
    Ok(Weights::new(weights))
}

/// The origin of a website, as browsers send it.
pub(super) fn origin(text: &str) -> Result<HeaderValue, ValueProblem> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    match url.map(|url| url.origin().ascii_serialization()) {
        // A path, a query or a final slash would never equal what a browser sends.
        Some(origin) if origin == text => {
            HeaderValue::from_str(text).map_err(|_| ValueProblem("must be ASCII".to_owned()))
        }
        _ => problem("must be an origin such as https://dashboard.example.com, without a path"),
    }
}
