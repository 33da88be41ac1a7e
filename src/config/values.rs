//! Parsers of the values of settings, with their formats and ranges.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;
use humantime::format_duration;
use ipnet::IpNet;
use thiserror::Error;
use url::{Host, Url};

/// Reason why a value is refused, as the end of a sentence that starts with the setting and its value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ValueProblem(pub String);

fn problem<T>(text: impl Into<String>) -> Result<T, ValueProblem> {
    Err(ValueProblem(text.into()))
}

/// Parses a duration such as `200ms`, `10s` or `6h`.
pub(crate) fn duration_between(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, ValueProblem> + Clone + Send + Sync + 'static {
    move |text| match humantime::parse_duration(text) {
        Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
        Ok(_) => problem(format!("must be between {} and {}", format_duration(least), format_duration(most))),
        Err(_) => problem("must be a duration such as 200ms, 10s or 6h"),
    }
}

/// Parses a number without a unit.
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

/// Whether a host name or address leads to this machine.
pub(super) fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Parses a size such as `1048576`, `512KiB` or `1MiB`.
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
            Some(_) => problem(format!("must be between {least} and {most} bytes")),
            None => problem("must be a number of bytes such as 1048576, 512KiB or 1MiB"),
        }
    }
}

/// Parses `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, ValueProblem> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => problem("must be true or false"),
    }
}

/// Parses an IP address and a port.
pub(super) fn address(text: &str) -> Result<SocketAddr, ValueProblem> {
    text.parse().or_else(|_| problem("must be an IP address and a port such as 127.0.0.1:5143 or [::]:5143"))
}

/// List of IP networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

/// Parses networks such as `10.0.0.0/8,fd00::/8`; an address is a network of one.
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

/// List of ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(pub Vec<u16>);

/// Parses ports such as `443,8443`.
pub(super) fn ports(text: &str) -> Result<Ports, ValueProblem> {
    let port = |word: &str| word.trim().parse().ok().filter(|&port| port > 0);
    match text.split(',').map(port).collect() {
        Some(ports) => Ok(Ports(ports)),
        None => problem("must be ports from 1 to 65535 such as 443,8443"),
    }
}

/// List of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(pub Vec<Host>);

/// Parses hosts such as `hooks.example.com,192.0.2.7`.
pub(super) fn hosts(text: &str) -> Result<Hosts, ValueProblem> {
    let host = |word: &str| Host::parse(word.trim().strip_suffix('.').unwrap_or(word.trim())).ok();
    match text.split(',').map(host).collect() {
        Some(hosts) => Ok(Hosts(hosts)),
        None => problem("must be hosts such as hooks.example.com,192.0.2.7, without a port"),
    }
}

/// Parses a URL that may be printed: with the scheme http or https, and without credentials.
pub(super) fn http_url(text: &str) -> Result<Url, ValueProblem> {
    let is_plain = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    };
    match Url::parse(text).ok().filter(is_plain) {
        Some(url) => Ok(url),
        None => problem("must be a URL that begins with https:// or http://, without user and password"),
    }
}

/// Parses the origin of a website, as browsers send it.
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
