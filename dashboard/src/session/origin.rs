//! Refusal of requests that other websites make browsers send.

use axum::http::HeaderMap;
use axum::http::header::ORIGIN;
use axum::http::request::Parts;

use super::cookies::host;
use crate::web::error::PageError;

const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Checks that a request which may change something comes from one of our pages, as far as its browser says where it
/// comes from. Forms have a token as well.
///
/// # Errors
/// It comes from another website.
pub(super) fn check(request: &Parts) -> Result<(), PageError> {
    if request.method.is_safe() {
        return Ok(());
    }
    let of_ours = match header(&request.headers, SEC_FETCH_SITE) {
        Some(site) => site == "same-origin",
        None => match header(&request.headers, ORIGIN.as_str()) {
            Some(origin) => origin.split_once("://").map(|(_, host)| host) == host(request),
            None => true,
        },
    };
    if of_ours { Ok(()) } else { Err(PageError::ForeignForm) }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"))
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn accepted(method: &str, headers: &[(&str, &str)]) -> bool {
        let mut request =
            Request::builder().method(method).uri("/sign-in").header("host", "hooks.example.com:8443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0).is_ok()
    }

    #[test]
    fn what_a_browser_says_about_the_origin_decides() {
        assert!(accepted("POST", &[("sec-fetch-site", "same-origin")]));
        assert!(accepted("POST", &[("origin", "https://hooks.example.com:8443")]));
        assert!(accepted("POST", &[]), "the token of the form decides");
        for headers in [
            [("sec-fetch-site", "cross-site")],
            [("sec-fetch-site", "same-site")],
            [("sec-fetch-site", "none")],
            [("origin", "https://evil.example.com")],
            [("origin", "https://hooks.example.com")],
            [("origin", "null")],
        ] {
            assert!(!accepted("POST", &headers), "{headers:?}");
            assert!(accepted("GET", &headers), "{headers:?}");
        }
    }
}
