//! URL of a destination, as its owner entered it.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::{Host, Url};

use crate::target_rules::TargetRules;

/// Maximum length of a URL, in characters.
pub const URL_LENGTH_MAX: usize = 2048;

/// Absolute http(s) URL without user information that the operator's rules allowed when it was entered.
///
/// The addresses of a host *name* are checked by the worker at each connection, since they can change. A URL that
/// is read from a stored fact is not checked against the rules again: a change of those makes deliveries fail, but
/// does not make the log unreadable.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DestinationUrl {
    given: String,
    url: Url,
}

/// Reason why a URL is refused, worded for the user who entered it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DestinationUrlProblem {
    #[error("must be at most {URL_LENGTH_MAX} characters")]
    TooLong,
    #[error("must not contain spaces or control characters")]
    SpaceOrControlCharacter,
    #[error("must be an absolute https URL, such as https://example.com/webhooks")]
    NotHttps,
    /// Neither http nor https, where both are allowed.
    #[error("must be an absolute http or https URL, such as https://example.com/webhooks")]
    NotHttp,
    #[error("is not a valid URL: {0}")]
    Malformed(url::ParseError),
    /// `https://user:password@host/`.
    #[error("must not contain a user name or password: configure authentication instead")]
    UserInformation,
    /// The host is a literal address to which no webhook may be sent.
    #[error("must not point at {address} ({range})")]
    BlockedAddress {
        /// The parsed address, in its usual notation.
        address: IpAddr,
        /// Name of the range that blocks it.
        range: &'static str,
    },
    /// The host is `localhost` or a subdomain of it.
    #[error("must not point at localhost")]
    Localhost,
    /// The host is that of the installation itself.
    #[error("must not point at this API")]
    OwnHost,
    #[error("must use one of the ports {allowed}, and not {port}")]
    Port { port: u16, allowed: String },
}

impl DestinationUrl {
    /// Checks a URL that a user entered.
    ///
    /// # Errors
    ///
    /// The first rule that the URL breaks.
    pub fn parse(given: &str, rules: &TargetRules) -> Result<Self, DestinationUrlProblem> {
        let parsed = Self::parse_any(given, rules.plain_http)?;
        rules.check(&parsed.url)?;
        Ok(parsed)
    }

    /// Reads a URL that [`DestinationUrl::parse`] accepted when it was entered.
    ///
    /// # Errors
    ///
    /// If it is not a URL.
    pub fn read(stored: &str) -> Result<Self, DestinationUrlProblem> {
        Self::parse_any(stored, true)
    }

    fn parse_any(given: &str, plain_http: bool) -> Result<Self, DestinationUrlProblem> {
        use DestinationUrlProblem as Problem;

        if given.chars().count() > URL_LENGTH_MAX {
            return Err(Problem::TooLong);
        }
        // The URL parser silently drops some of these; the URL that is shown would differ from the one in use.
        if given.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(Problem::SpaceOrControlCharacter);
        }
        let absolute =
            |scheme: &str| given.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        match plain_http {
            false if !absolute("https://") => return Err(Problem::NotHttps),
            true if !absolute("https://") && !absolute("http://") => return Err(Problem::NotHttp),
            _ => {}
        }
        let url = Url::parse(given).map_err(Problem::Malformed)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Problem::UserInformation);
        }
        if let Some(Host::Domain(name)) = url.host()
            && !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            // The URL parser accepts some characters that are not allowed in DNS names.
            return Err(Problem::Malformed(url::ParseError::InvalidDomainCharacter));
        }
        Ok(Self { given: given.to_owned(), url })
    }

    /// Returns the URL exactly as it was entered, to be shown to users.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// Returns the parsed URL, to be used for requests.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

impl TryFrom<String> for DestinationUrl {
    type Error = DestinationUrlProblem;

    fn try_from(stored: String) -> Result<Self, Self::Error> {
        Self::read(&stored)
    }
}

impl From<DestinationUrl> for String {
    fn from(url: DestinationUrl) -> Self {
        url.given
    }
}

impl fmt::Display for DestinationUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.given)
    }
}

impl fmt::Debug for DestinationUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DestinationUrl({:?})", self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(given: &str) -> Option<DestinationUrlProblem> {
        DestinationUrl::parse(given, &TargetRules::default()).err()
    }

    #[test]
    fn an_https_url_is_shown_as_entered() {
        for given in [
            "https://example.com",
            "HTTPS://Example.COM:8443/Hook?a=b#c",
            "https://müller.example/straße",
            "https://8.8.8.8/",
            "https://[2606:4700:4700::1111]/",
        ] {
            let url = DestinationUrl::parse(given, &TargetRules::default()).unwrap();
            assert_eq!(url.as_str(), given);
            assert_eq!(serde_json::to_value(&url).unwrap(), given);
            assert_eq!(serde_json::from_value::<DestinationUrl>(given.into()).unwrap(), url);
        }
        let url = DestinationUrl::parse("https://Example.com:443", &TargetRules::default()).unwrap();
        assert_eq!(url.url().as_str(), "https://example.com/");
    }

    #[test]
    fn anything_but_an_absolute_https_url_is_refused() {
        use DestinationUrlProblem as Problem;
        for given in [
            "",
            "http://example.com",
            "ftp://example.com",
            "/hook",
            "example.com",
            "https:example.com",
            "https:/a.b",
        ] {
            assert_eq!(problem(given), Some(Problem::NotHttps), "{given:?}");
        }
        for given in
            ["https://", "https://:80/", "https://exa mple.com", "https://a.b:99999/", "https://[::1"]
        {
            assert!(
                matches!(problem(given), Some(Problem::Malformed(_) | Problem::SpaceOrControlCharacter)),
                "{given:?}"
            );
        }
        for given in ["https://a*.example.com", "https://a!b.example.com/", "https://a&b", "https://(a).b"] {
            let invalid = Problem::Malformed(url::ParseError::InvalidDomainCharacter);
            assert_eq!(problem(given), Some(invalid), "{given:?}");
        }
        for given in
            [" https://a.b", "https://a.b\n", "https://a.b/\t", "https://a.b/\0", "https://a.b/\u{a0}"]
        {
            assert_eq!(problem(given), Some(Problem::SpaceOrControlCharacter), "{given:?}");
        }
    }

    #[test]
    fn a_url_of_the_greatest_length_is_accepted_and_one_more_is_not() {
        let longest = format!("https://example.com/{}", "ä".repeat(URL_LENGTH_MAX - 20));
        assert_eq!(problem(&longest), None);
        assert_eq!(problem(&format!("{longest}a")), Some(DestinationUrlProblem::TooLong));
    }

    #[test]
    fn user_information_is_refused() {
        for given in
            ["https://user@example.com", "https://user:pass@example.com", "https://:pass@example.com"]
        {
            assert_eq!(problem(given), Some(DestinationUrlProblem::UserInformation), "{given:?}");
        }
    }

    #[test]
    fn a_literal_private_address_is_refused_in_every_spelling() {
        for given in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://2130706433/",
            "https://017700000001/",
            "https://0/",
            "https://１２７.0.0.1/",
            "https://127.0.0.1./",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://192.168.1.1:8443/",
        ] {
            assert!(
                matches!(problem(given), Some(DestinationUrlProblem::BlockedAddress { .. })),
                "{given}: {:?}",
                problem(given)
            );
        }
        for given in ["https://localhost/", "https://LOCALHOST.:8080/", "https://api.localhost/"] {
            assert_eq!(problem(given), Some(DestinationUrlProblem::Localhost), "{given}");
        }
        assert_eq!(problem("https://localhost.example.com/"), None);
        assert_eq!(
            problem("https://0x7f.1/").unwrap().to_string(),
            "must not point at 127.0.0.1 (loopback, 127.0.0.0/8)"
        );
    }

    #[test]
    fn http_and_private_addresses_pass_when_they_are_allowed() {
        for given in ["http://localhost:8080/hook", "https://127.0.0.1/", "http://[::1]:1/"] {
            DestinationUrl::parse(given, &TargetRules::insecure()).unwrap();
        }
        for given in ["ftp://localhost/", "localhost:8080", "http:localhost"] {
            let problem = DestinationUrl::parse(given, &TargetRules::insecure()).unwrap_err();
            assert_eq!(problem, DestinationUrlProblem::NotHttp);
        }
    }
}
