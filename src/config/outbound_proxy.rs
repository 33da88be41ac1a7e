//! HTTP forward proxy for requests to destinations.

use std::fmt;
use std::str::FromStr;

use url::Url;

use super::values::ValueProblem;

/// HTTP forward proxy.
#[derive(Clone)]
pub struct OutboundProxy {
    url: Url,
}

impl OutboundProxy {
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }
}

impl FromStr for OutboundProxy {
    type Err = ValueProblem;

    /// Parses `http://[user:password@]host[:port]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_proxy = |url: &Url| {
            url.scheme() == "http" && url.has_host() && url.path() == "/" && url.query().is_none()
        };
        match Url::parse(text).ok().filter(is_proxy) {
            Some(url) => Ok(Self { url }),
            None => Err(ValueProblem("must be a URL such as http://proxy.internal:3128".to_owned())),
        }
    }
}

impl fmt::Debug for OutboundProxy {
    /// Prints the URL without user and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(f, "OutboundProxy(http://{host}:{})", self.url.port_or_known_default().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_url_and_its_password_is_not_printed() {
        let proxy: OutboundProxy = "http://me:s3cret@proxy.internal:3128".parse().unwrap();
        assert_eq!(format!("{proxy:?}"), "OutboundProxy(http://proxy.internal:3128)");
        for refused in ["", "proxy:3128", "https://proxy", "socks5://proxy", "http://proxy/path", "http://"] {
            assert!(refused.parse::<OutboundProxy>().is_err(), "{refused}");
        }
    }
}
