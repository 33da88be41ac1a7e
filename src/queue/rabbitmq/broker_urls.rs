//! URLs of the broker. They contain a password, so they are never printed.

use std::fmt;
use std::sync::Arc;

use lapin::uri::{AMQPScheme, AMQPUri};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

/// Default heartbeat interval in seconds; the URL may set another. A broker that disappears without closing
/// its socket is noticed after two intervals. Lower: a busy machine considers its broker dead.
const HEARTBEAT_SECONDS: u16 = 10;

/// URLs of a broker, or of the nodes of its cluster. Only host and port are printed.
#[derive(Clone)]
pub struct BrokerUrls(Arc<[Node]>);

/// A node of a broker.
pub(super) struct Node {
    /// Host and port, for messages.
    pub(super) address: String,
    url: SecretString,
}

impl Node {
    /// Returns the parsed URL.
    pub(super) fn uri(&self) -> AMQPUri {
        read_url(self.url.expose_secret()).expect("the URL was parsed when the node was created")
    }
}

/// Error of an invalid URL. Does not repeat the URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("AMQP URL number {number} is not of the form amqp://user:password@host:port/vhost (or amqps://)")]
pub struct InvalidBrokerUrl {
    number: usize,
}

impl BrokerUrls {
    /// Parses one URL, or several separated by commas, one for each node of a cluster.
    ///
    /// # Errors
    /// The number of the first invalid URL, counted from 1.
    pub fn parse(urls: &SecretString) -> Result<Self, InvalidBrokerUrl> {
        split(urls.expose_secret())
            .into_iter()
            .enumerate()
            .map(|(index, url)| {
                let uri = read_url(url).ok_or(InvalidBrokerUrl { number: index + 1 })?;
                let address = format!("{}:{}", uri.authority.host, uri.authority.port);
                Ok(Node { address, url: url.into() })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns host and address of each node that is reached without TLS.
    pub(crate) fn unencrypted(&self) -> impl Iterator<Item = (String, String)> + '_ {
        self.0.iter().filter_map(|node| {
            let uri = node.uri();
            (uri.scheme == AMQPScheme::AMQP).then(|| (uri.authority.host, node.address.clone()))
        })
    }

    /// Whether there are several nodes, which are a cluster.
    pub(crate) fn has_several(&self) -> bool {
        self.0.len() > 1
    }

    /// Returns the nodes; there is at least one.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.0
    }
}

impl fmt::Debug for BrokerUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|node| &node.address)).finish()
    }
}

/// Splits at commas that are followed by a URL: passwords may contain commas.
fn split(urls: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (comma, _) in urls.match_indices(',') {
        let rest = urls[comma + 1..].trim_start();
        if rest.starts_with("amqp://") || rest.starts_with("amqps://") {
            parts.push(urls[start..comma].trim());
            start = comma + 1;
        }
    }
    parts.push(urls[start..].trim());
    parts
}

fn read_url(text: &str) -> Option<AMQPUri> {
    let mut uri: AMQPUri = text.parse().ok()?;
    // The client library does not parse numeric IPv6 hosts, and takes "/" for a virtual host with an empty
    // name.
    if let Some(url::Host::Ipv6(host)) = url::Url::parse(text).ok()?.host() {
        uri.authority.host = host.to_string();
    }
    if uri.vhost.is_empty() {
        uri.vhost = "/".to_owned();
    }
    uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
    Some(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(urls: &str) -> Result<BrokerUrls, InvalidBrokerUrl> {
        BrokerUrls::parse(&urls.into())
    }

    #[test]
    fn one_url_or_one_for_each_node() {
        for (urls, addresses) in [
            ("amqp://guest:secret@localhost", r#"["localhost:5672"]"#),
            ("amqps://u:secret@mq.example:1234/shop", r#"["mq.example:1234"]"#),
            ("amqp://u:secret@[::1]:5/", r#"["::1:5"]"#),
            ("amqp://u:secret@a,amqp://u:secret@b:7", r#"["a:5672", "b:7"]"#),
            ("amqp://u:sec,ret@a , amqps://u:secret@b", r#"["a:5672", "b:5671"]"#),
        ] {
            assert_eq!(format!("{:?}", parse(urls).unwrap()), addresses, "{urls}");
        }
    }

    #[test]
    fn an_invalid_url_is_named_by_its_number_and_not_repeated() {
        for (urls, number) in
            [("", 1), ("secret", 1), ("http://u:secret@a", 1), ("amqp://a,amqp://u:secret@b:notaport", 2)]
        {
            let error = parse(urls).unwrap_err();
            assert_eq!(error, InvalidBrokerUrl { number }, "{urls}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{urls}");
        }
    }

    #[test]
    fn a_url_without_a_virtual_host_means_the_default_one() {
        for url in ["amqp://a", "amqp://a/", "amqp://a/%2f"] {
            assert_eq!(read_url(url).unwrap().vhost, "/", "{url}");
        }
        assert_eq!(read_url("amqp://a/shop").unwrap().vhost, "shop");
        assert_eq!(read_url("amqp://a?heartbeat=33").unwrap().query.heartbeat, Some(33));
    }
}
