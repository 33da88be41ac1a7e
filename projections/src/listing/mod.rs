//! Lists of read models: filters, sort fields and the query builder that reads a page.
//!
//! A list declares each filter field ([`list_filter!`]) and each sort field ([`sort_fields!`]) once. The
//! declaration yields the SQL, the query parameter that the API reads and describes, and the terms that a
//! page cursor is bound to. This crate knows no HTTP: the API converts [`FilterField`]s.
//!
//! To add a filter to a list, add a field to its `list_filter!`; a long list also needs an index, in a migration.

mod filter;
mod query;
mod recorded;
mod sort;

pub use filter::{Filter, FilterField, FilterKind, FilterValue};
pub(crate) use filter::{list_filter, push_conditions};
pub(crate) use query::List;
pub use recorded::{UnreadableTerm, read_recorded, recorded};
pub(crate) use sort::SortColumns;
pub use sort::SortFields;
pub(crate) use sort::sort_fields;
