//! Hops of a webhook through installations of HookSentry, by which loops end.
//!
//! A destination may be the ingest of another installation, or of the same one. Each installation adds an entry to the
//! header `CDN-Loop` (RFC 8586) of the requests that it sends, and counts those that it finds in a webhook. Entries of
//! others are not passed on: each delivery is a request of its own, and the content delivery network in front of one
//! receiver may also be in front of the next.

use axum::http::HeaderMap;

/// Name of the header.
pub(crate) const HEADER: &str = "cdn-loop";

/// What every installation calls itself.
const NAME: &str = "hooksentry";

/// Returns the number of installations that a request passed through.
pub(crate) fn of(headers: &HeaderMap) -> u16 {
    let values = headers.get_all(HEADER).iter().filter_map(|value| value.to_str().ok());
    let names = values.flat_map(|value| value.split(',')).map(|entry| {
        // Parameters may follow the name.
        entry.split(';').next().unwrap_or_default().trim()
    });
    let count = names.filter(|name| name.eq_ignore_ascii_case(NAME)).count();
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// Returns the header's value for a webhook that passed through so many installations before this one.
pub(crate) fn value_after(hops: u16) -> String {
    let mut value = NAME.to_owned();
    for _ in 0..hops {
        value.push_str(", ");
        value.push_str(NAME);
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(values: &[&str]) -> u16 {
        of(&values.iter().map(|value| (HEADER.parse().unwrap(), value.parse().unwrap())).collect())
    }

    #[test]
    fn own_entries_are_counted_in_every_form() {
        for (values, hops) in [
            (&[][..], 0),
            (&["cloudflare; loops=1"], 0),
            (&["hooksentry"], 1),
            (&["a.example:8080;p=\"1\", HookSentry ; v=1 ,hooksentry", "hooksentry"], 3),
            (&["hooksentry.example, x-hooksentry, not hooksentry"], 0),
            (&[",,;,"], 0),
        ] {
            assert_eq!(count(values), hops, "{values:?}");
        }
    }

    #[test]
    fn each_installation_adds_one() {
        for hops in 0..5 {
            assert_eq!(count(&[&value_after(hops)]), hops + 1);
        }
    }

    proptest! {
        /// Each of our entries counts, and nothing else does.
        #[test]
        fn foreign_bytes_in_cdn_loop(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5)) {
            let headers: HeaderMap = values
                .iter()
                .filter_map(|value| Some((HEADER.parse().ok()?, value.as_slice().try_into().ok()?)))
                .collect();
            let before = of(&headers);
            let mut with_ours = headers;
            with_ours.append(HEADER, value_after(2).parse().unwrap());
            prop_assert_eq!(of(&with_ours), before + 3);
        }
    }
}
