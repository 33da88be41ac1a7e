//! The page to open after the sign-in.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Longest path that is kept, in bytes.
const PATH_BYTES_MAX: usize = 2_000;

/// Returns a path of ours from a parameter, or the first page: a link must not lead to another website.
pub(crate) fn path(next: Option<&str>) -> &str {
    next.filter(|path| is_local(path)).unwrap_or("/")
}

/// Returns the query of the sign-in that leads back to `path`.
pub(crate) fn query(path: &str) -> String {
    if path == "/" || !is_local(path) {
        return String::new();
    }
    format!("?next={}", utf8_percent_encode(path, NON_ALPHANUMERIC))
}

fn is_local(path: &str) -> bool {
    // Browsers read a backslash as a slash and skip control characters, and `//` begins a host.
    let mut bytes = path.bytes();
    path.len() <= PATH_BYTES_MAX
        && bytes.next() == Some(b'/')
        && bytes.next() != Some(b'/')
        && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_ours_is_opened_after_the_sign_in() {
        for local in ["/", "/events", "/events?Status=Pending&From=2026-01-01"] {
            assert_eq!(path(Some(local)), local);
        }
        for foreign in [
            "//evil.example.com",
            "/\\evil.example.com",
            "/\t/evil.example.com",
            "https://evil.example.com",
            "javascript:alert(1)",
            "events",
            "",
            " /events",
            "/\u{e9}",
        ] {
            assert_eq!(path(Some(foreign)), "/", "{foreign}");
            assert_eq!(query(foreign), "");
        }
        assert_eq!(query("/events?a=b"), "?next=%2Fevents%3Fa%3Db");
    }
}
