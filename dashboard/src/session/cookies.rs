//! The cookies of the dashboard.
//!
//! The prefix `__Host-` makes browsers refuse them from subdomains and without TLS. On the machine itself there is no
//! TLS, so there the names have no prefix.

use axum::http::header::{COOKIE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::api::auth::Tokens;

/// Refresh and access token of the session.
const SESSION: &str = "hooksentry";
/// Random value that protects the forms of visitors.
const VISITOR: &str = "hooksentry-visitor";
/// Token of a portal link.
const PORTAL: &str = "hooksentry-portal";
/// Separates the tokens of a session; neither contains it.
const SEPARATOR: char = '~';
/// Validity of a session that is not used, in seconds: that of a refresh token.
const SESSION_SECONDS: u32 = 7 * 24 * 3_600;

/// Cookies of a request.
#[derive(Clone, Debug)]
pub(crate) struct Cookies {
    /// Whether the host of the request is this machine.
    is_local: bool,
    host: String,
    session: Option<Tokens>,
    visitor: Option<String>,
    portal_token: Option<SecretString>,
}

impl Cookies {
    pub(crate) fn of(request: &Parts) -> Self {
        let host = host(request);
        let is_local = host.is_some_and(is_local);
        let session = value(&request.headers, &name(SESSION, is_local)).and_then(tokens);
        let visitor = value(&request.headers, &name(VISITOR, is_local)).map(str::to_owned);
        let portal_token = value(&request.headers, &name(PORTAL, is_local)).map(SecretString::from);
        Self { is_local, host: host.unwrap_or_default().to_owned(), session, visitor, portal_token }
    }

    /// Returns the URL of this installation, as the browser has it.
    pub(crate) fn base(&self) -> String {
        format!("{}://{}", if self.is_local { "http" } else { "https" }, self.host)
    }

    pub(crate) fn session(&self) -> Option<Tokens> {
        self.session.clone()
    }

    pub(crate) fn visitor(&self) -> Option<&str> {
        self.visitor.as_deref()
    }

    pub(crate) fn portal_token(&self) -> Option<&SecretString> {
        self.portal_token.as_ref()
    }

    /// Returns the `Set-Cookie` of a portal link that expires after some seconds.
    pub(crate) fn enter_portal(&self, token: &SecretString, seconds: i64) -> HeaderValue {
        let seconds = u32::try_from(seconds).unwrap_or_default();
        self.set(PORTAL, token.expose_secret(), Some(seconds))
    }

    /// Returns the `Set-Cookie` that removes the portal link.
    pub(crate) fn leave_portal(&self) -> HeaderValue {
        self.set(PORTAL, "", Some(0))
    }

    /// Returns the `Set-Cookie` of a session.
    pub(crate) fn sign_in(&self, tokens: &Tokens) -> HeaderValue {
        let (refresh, access) = (tokens.refresh_token.expose_secret(), tokens.access_token.expose_secret());
        self.set(SESSION, &format!("{refresh}{SEPARATOR}{access}"), Some(SESSION_SECONDS))
    }

    /// Returns the `Set-Cookie` that removes the session.
    pub(crate) fn sign_out(&self) -> HeaderValue {
        self.set(SESSION, "", Some(0))
    }

    /// Returns the `Set-Cookie` of a visitor, which ends with the browser.
    pub(crate) fn visit(&mut self, value: &str) -> HeaderValue {
        self.visitor = Some(value.to_owned());
        self.set(VISITOR, value, None)
    }

    fn set(&self, cookie: &str, value: &str, seconds: Option<u32>) -> HeaderValue {
        let name = name(cookie, self.is_local);
        let secure = if self.is_local { "" } else { "; Secure" };
        let age = seconds.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}");
        let mut header = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        header.set_sensitive(true);
        header
    }
}

/// Returns the host that a request is for, with its port.
pub(super) fn host(request: &Parts) -> Option<&str> {
    let authority = request.uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| request.headers.get(HOST)?.to_str().ok())
}

fn name(cookie: &str, is_local: bool) -> String {
    format!("{}{cookie}", if is_local { "" } else { "__Host-" })
}

/// Returns whether a host is this machine, which browsers reach without TLS.
fn is_local(host: &str) -> bool {
    let Ok(url) = url::Url::parse(&format!("http://{host}/")) else { return false };
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(key, value)| (key == name && !value.is_empty()).then_some(value))
}

fn tokens(value: &str) -> Option<Tokens> {
    let (refresh, access) = value.split_once(SEPARATOR)?;
    Some(Tokens {
        access_token: SecretString::from(access.to_owned()),
        refresh_token: SecretString::from(refresh.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn cookies(host: &str, cookie: &str) -> Cookies {
        let request = Request::builder().header(HOST, host).header(COOKIE, cookie).body(()).unwrap();
        Cookies::of(&request.into_parts().0)
    }

    fn text(header: HeaderValue) -> String {
        header.to_str().unwrap().to_owned()
    }

    #[test]
    fn cookies_are_bound_to_the_host_except_on_this_machine() {
        let tokens = Tokens { access_token: "a.b.c".into(), refresh_token: "rfr_1".into() };
        assert_eq!(
            text(cookies("hooks.example.com", "").sign_in(&tokens)),
            "__Host-hooksentry=rfr_1~a.b.c; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=604800"
        );
        for host in ["localhost:5143", "127.0.0.1", "[::1]:80", "demo.localhost"] {
            let set = text(cookies(host, "").sign_in(&tokens));
            assert!(set.starts_with("hooksentry=") && !set.contains("Secure"), "{host}: {set}");
        }
        for host in ["localhost.example.com", "128.0.0.1", "127.0.0.1.example.com", "", "a b"] {
            assert!(text(cookies(host, "").sign_out()).starts_with("__Host-"), "{host}");
        }
    }

    #[test]
    fn a_session_is_read_from_the_cookie_of_its_host() {
        let read = |host, cookie| {
            let tokens = cookies(host, cookie).session()?;
            Some(format!("{} {}", tokens.refresh_token.expose_secret(), tokens.access_token.expose_secret()))
        };
        assert_eq!(read("localhost", "a=b; hooksentry=r~x.y.z").as_deref(), Some("r x.y.z"));
        assert_eq!(read("example.com", "__Host-hooksentry=r~x").as_deref(), Some("r x"));
        assert_eq!(
            read("example.com", "hooksentry=r~x"),
            None,
            "anything may set a cookie without the prefix"
        );
        assert_eq!(read("localhost", "hooksentry=; hooksentry-visitor=1"), None);
        assert_eq!(read("localhost", "hooksentry=rx"), None);
    }
}
