//! Reads query parameters. Names are case-insensitive, unknown names are ignored, and all invalid values are
//! reported together.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use projections::listing::SortFields;
use projections::paging::{Direction, Page};
use url::form_urlencoded;
use uuid::Uuid;

use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::time::{self, Bound};

/// Default number of items of a page.
pub(crate) const PAGE_ITEMS_DEFAULT: i64 = 10;
/// Default number of items of a page of an event's attempts or facts.
const ENTRIES_DEFAULT: i64 = 100;
/// Maximum number of items of a page. A higher `Qt` is reduced to it.
pub(crate) const PAGE_ITEMS_MAX: i64 = 200;

/// Parameters of a query, and the errors found so far.
#[derive(Debug, Default)]
pub(crate) struct Query {
    parameters: Vec<(String, String)>,
    errors: FieldErrors,
}

/// Requested page and order of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paging<F> {
    pub(crate) page: Page,
    pub(crate) sort: F,
    pub(crate) direction: Direction,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    pub(super) fn of(query: &str) -> Self {
        let parameters =
            form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into(), value.into()));
        Self { parameters: parameters.collect(), errors: FieldErrors::default() }
    }

    /// Returns the value of a parameter, parsed by `rule`; `None` if it is absent or invalid.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        rule: impl FnOnce(&str) -> Result<T, Cow<'static, str>>,
    ) -> Option<T> {
        let mut values = self.parameters.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        let judged = match values.next() {
            None => rule(value),
            Some(_) => Err("must not be given more than once".into()),
        };
        judged.map_err(|message| self.errors.add(name, message)).ok()
    }

    /// Reports a parameter that is given although it must not be.
    pub(crate) fn forbid(&mut self, name: &'static str, message: &'static str) {
        if self.mentions(name) {
            self.errors.add(name, message);
        }
    }

    /// Returns the text of a parameter, valid or not.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        let (_, text) = self.parameters.iter().find(|(given, _)| given.eq_ignore_ascii_case(name))?;
        Some(text)
    }

    /// Returns whether a parameter is given, valid or not.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.text(name).is_some()
    }

    /// Returns page and order of a sorted list: `Qt`, `Pg`, `CpOrd` and `TpOrd`.
    pub(crate) fn paging<F: SortFields>(&mut self) -> Paging<F> {
        let page = self.page(PAGE_ITEMS_DEFAULT);
        let sort = self.optional("CpOrd", sort_field).unwrap_or_default();
        Paging { page, sort, direction: self.direction(Direction::Descending) }
    }

    /// Returns page and direction of an event's attempts or facts, which are oldest first by default.
    ///
    /// # Errors
    /// The problem that names all invalid parameters.
    pub(crate) fn entries(mut self) -> Result<(Page, Direction), Problem> {
        let entries = (self.page(ENTRIES_DEFAULT), self.direction(Direction::Ascending));
        self.complete()?;
        Ok(entries)
    }

    /// Returns the page: `Qt` and `Pg`.
    fn page(&mut self, items_default: i64) -> Page {
        let limit = self.optional("Qt", from_one).unwrap_or(items_default).min(PAGE_ITEMS_MAX);
        let number = self.optional("Pg", from_one).unwrap_or(1);
        // A page number beyond the range of integers is as empty as any other beyond the last page.
        Page { limit, offset: (number - 1).saturating_mul(limit) }
    }

    /// Returns the number of items of a page that begins at a cursor: `Qt`.
    pub(crate) fn items(&mut self) -> usize {
        let items = self.optional("Qt", from_one).unwrap_or(ENTRIES_DEFAULT).min(PAGE_ITEMS_MAX);
        usize::try_from(items).unwrap_or(usize::MAX)
    }

    /// Returns the direction: `TpOrd`.
    pub(crate) fn direction(&mut self, default: Direction) -> Direction {
        self.optional("TpOrd", direction).unwrap_or(default)
    }

    /// Returns the position after which the page begins: `After`, parsed by `read`. Called last, because a cursor is
    /// valid only with the filters and the order that it was issued for.
    pub(crate) fn after<P>(&mut self, read: impl FnOnce(&str) -> Option<P>) -> Option<P> {
        let (with_page, others_are_valid) = (self.mentions("Pg"), self.errors.is_empty());
        let position = self.optional("After", |text| {
            if with_page {
                return Err("must not be given together with Pg".into());
            }
            if !others_are_valid {
                return Ok(None);
            }
            let unknown = "must be the `next` of a page of the same list, with the same filters and order";
            read(text).map(Some).ok_or_else(|| unknown.into())
        });
        position.flatten()
    }

    /// Checks that no parameter was invalid.
    ///
    /// # Errors
    /// The problem that names all invalid parameters.
    pub(crate) fn complete(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

/// Parses a whole number from 1. Larger numbers than `i64::MAX` are reduced to it.
pub(crate) fn from_one(text: &str) -> Result<i64, Cow<'static, str>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("must be a whole number from 1".into());
    }
    match text.parse().unwrap_or(i64::MAX) {
        0 => Err("must be a whole number from 1".into()),
        number => Ok(number),
    }
}

fn sort_field<F: SortFields>(text: &str) -> Result<F, Cow<'static, str>> {
    F::ALL.iter().copied().find(|field| field.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<_> = F::ALL.iter().map(|field| field.name()).collect();
        format!("must be one of {}", names.join(", ")).into()
    })
}

fn direction(text: &str) -> Result<Direction, Cow<'static, str>> {
    match text {
        "0" => Ok(Direction::Ascending),
        "1" => Ok(Direction::Descending),
        _ if text.eq_ignore_ascii_case("Asc") => Ok(Direction::Ascending),
        _ if text.eq_ignore_ascii_case("Desc") => Ok(Direction::Descending),
        _ => Err("must be Asc or Desc".into()),
    }
}

/// Parses `true` or `false`, in any case.
pub(crate) fn boolean(text: &str) -> Result<bool, Cow<'static, str>> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Ok(true),
        _ if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

/// Three digits (RFC 9110, section 15): receivers also send numbers beyond 599.
pub(crate) const HTTP_STATUSES: RangeInclusive<i16> = 100..=999;

/// Parses an HTTP status.
pub(crate) fn http_status(text: &str) -> Result<i16, Cow<'static, str>> {
    let status = text.parse().ok().filter(|status| HTTP_STATUSES.contains(status));
    status.ok_or_else(|| "must be an HTTP status from 100 to 999".into())
}

/// Parses a UUID.
pub(crate) fn uuid(text: &str) -> Result<Uuid, Cow<'static, str>> {
    crate::api::http::path::uuid(text).ok_or_else(|| "must be a UUID".into())
}

/// Parses a time that begins or ends a range.
pub(crate) fn moment(bound: Bound) -> impl FnOnce(&str) -> Result<DateTime<Utc>, Cow<'static, str>> {
    move |text| {
        time::parse(text, bound)
            .ok_or_else(|| "must be a date or a time in ISO 8601, such as 2026-07-03T14:32:00Z".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use projections::users::SortField;
    use proptest::prelude::*;

    fn paging(query: &str) -> Result<Paging<SortField>, Problem> {
        let mut query = Query::of(query);
        let paging = query.paging();
        query.complete().map(|()| paging)
    }

    #[test]
    fn without_parameters_the_first_ten_come_largest_id_first() {
        let paging = paging("").unwrap();
        assert_eq!(paging.page, Page { limit: 10, offset: 0 });
        assert_eq!((paging.sort, paging.direction), (SortField::Id, Direction::Descending));
    }

    #[test]
    fn parameters_are_read_in_any_case() {
        let paging = paging("qt=20&PG=3&cpORD=CREATEDAT&tpord=asc&other=%FF").unwrap();
        assert_eq!(paging.page, Page { limit: 20, offset: 40 });
        assert_eq!((paging.sort, paging.direction), (SortField::CreatedAt, Direction::Ascending));
    }

    #[test]
    fn large_pages_are_cut_and_far_pages_are_empty() {
        assert_eq!(paging("Qt=201").unwrap().page.limit, 200);
        assert_eq!(paging("Qt=99999999999999999999").unwrap().page.limit, 200);
        assert_eq!(paging("Pg=99999999999999999999").unwrap().page.offset, i64::MAX);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for query in [
            "Qt=0",
            "Qt=-1",
            "Qt=x",
            "Qt=",
            "Qt=1.5",
            "Qt=%2B5",
            "Pg=0",
            "Pg=-1",
            "Pg=",
            "CpOrd=passwordHash",
            "CpOrd=",
            "TpOrd=up",
            "TpOrd=2",
            "TpOrd=",
            "Qt=1&qt=2",
            "Qt=1%00",
        ] {
            assert!(paging(query).is_err(), "{query}");
        }
    }

    proptest! {
        #[test]
        fn foreign_bytes_as_a_query(query in ".{0,200}|((qt|pg|tpord|cpord)=[0-9a-zA-Z%+-]{0,25}&?){0,6}") {
            if let Ok(paging) = paging(&query) {
                prop_assert!((1..=200).contains(&paging.page.limit));
                prop_assert!(paging.page.offset >= 0);
            }
        }

        #[test]
        fn foreign_bytes_as_a_time(text in ".{0,60}|[0-9TZ:.+-]{0,40}") {
            for bound in [Bound::From, Bound::To] {
                let _: Result<DateTime<Utc>, _> = moment(bound)(&text);
            }
        }
    }
}
