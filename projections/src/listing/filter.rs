//! Filters: what a caller can restrict a list to.

use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// Value that a list is filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterValue {
    Flag(bool),
    /// Number of an enum's variant, or an HTTP status.
    Number(i16),
    Id(Uuid),
    Time(DateTime<Utc>),
}

/// Kind of a filter field: which texts it is read from.
#[derive(Clone, Copy, Debug)]
pub enum FilterKind {
    Flag,
    /// A variant of an enum. The function returns the name and the number of each.
    OneOf(fn() -> Vec<(&'static str, i16)>),
    Id,
    /// HTTP status: three digits.
    HttpStatus,
    /// Idempotency key of a webhook event. The value is the id of the event, to which the caller resolves the text.
    IdempotencyKey,
    /// Start of a time range, included. A date means its first moment.
    TimeFrom,
    /// End of a time range, included. A date means its last moment.
    TimeTo,
}

/// A field of a filter.
#[derive(Clone, Copy, Debug)]
pub struct FilterField {
    /// Name of the query parameter.
    pub name: &'static str,
    /// Complete sentence for the description of the API.
    pub description: &'static str,
    pub kind: FilterKind,
    #[doc(hidden)]
    pub condition: &'static str,
}

/// The filter of a list, declared with `list_filter!`.
pub trait Filter: Copy + Default {
    /// Fields in the order of the declaration.
    const FIELDS: &'static [FilterField];

    /// Returns the filter whose fields have the values that `value_of` returns; `None`: not filtered by the
    /// field.
    fn read(value_of: impl FnMut(&'static FilterField) -> Option<FilterValue>) -> Self;

    /// Returns the values of [`FIELDS`](Self::FIELDS), in their order.
    fn values(self) -> Vec<Option<FilterValue>>;

    /// Returns the fields that the list is filtered by.
    fn terms(self) -> impl Iterator<Item = (&'static FilterField, FilterValue)> {
        Self::FIELDS.iter().zip(self.values()).filter_map(|(field, value)| Some((field, value?)))
    }
}

impl fmt::Display for FilterValue {
    /// Writes the same text for the same value, as a cursor's terms need it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Id(id) => id.fmt(f),
            Self::Time(time) => time.timestamp_micros().fmt(f),
        }
    }
}

impl FilterValue {
    pub(crate) fn push_bind(self, query: &mut QueryBuilder<'_, Postgres>) {
        match self {
            Self::Flag(flag) => query.push_bind(flag),
            Self::Number(number) => query.push_bind(number),
            Self::Id(id) => query.push_bind(id),
            Self::Time(time) => query.push_bind(time),
        };
    }
}

/// Adds ` AND condition` for each field that the list is filtered by.
pub(crate) fn push_conditions<F: Filter>(query: &mut QueryBuilder<'_, Postgres>, filter: F) {
    for (field, value) in filter.terms() {
        let (before, after) = field.condition.split_once("{}").unwrap_or((field.condition, ""));
        query.push(" AND ").push(before);
        value.push_bind(query);
        query.push(after);
    }
}

/// Declares a filter. Each field has a kind, the name of its query parameter and its SQL condition, in which
/// `{}` is the value; its doc comment is the parameter's description.
///
/// The kinds are `flag`, `one_of ENUM`, `id TYPE`, `http_status`, `idempotency_key TYPE`, `time_from` and `time_to`.
macro_rules! list_filter {
    (
        $(#[$doc:meta])*
        $filter:ident {
            $(
                #[doc = $description:literal]
                $field:ident: $kind:ident $($type:ty)? => $name:literal, $condition:literal;
            )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $filter {
            $(
                #[doc = $description]
                pub $field: Option<$crate::listing::list_filter!(@type $kind $($type)?)>,
            )+
        }

        impl $crate::listing::Filter for $filter {
            const FIELDS: &'static [$crate::listing::FilterField] = &[$(
                $crate::listing::FilterField {
                    name: $name,
                    description: $description.trim_ascii(),
                    kind: $crate::listing::list_filter!(@kind $kind $($type)?),
                    condition: $condition,
                },
            )+];

            fn read(
                mut value_of: impl FnMut(&'static $crate::listing::FilterField)
                    -> Option<$crate::listing::FilterValue>,
            ) -> Self {
                let mut fields = Self::FIELDS.iter();
                Self {
                    $($field: match fields.next().and_then(&mut value_of) {
                        Some($crate::listing::list_filter!(@pattern $kind value)) => {
                            $crate::listing::list_filter!(@typed $kind value $($type)?)
                        }
                        _ => None,
                    },)+
                }
            }

            fn values(self) -> Vec<Option<$crate::listing::FilterValue>> {
                vec![$(
                    self.$field.map(|value| $crate::listing::list_filter!(@value $kind value)),
                )+]
            }
        }
    };

    (@type flag) => { bool };
    (@type one_of $type:ty) => { $type };
    (@type id $type:ty) => { $type };
    (@type idempotency_key $type:ty) => { $type };
    (@type http_status) => { i16 };
    (@type $time:ident) => { ::chrono::DateTime<::chrono::Utc> };

    (@kind flag) => { $crate::listing::FilterKind::Flag };
    (@kind one_of $type:ty) => {
        $crate::listing::FilterKind::OneOf(|| {
            <$type>::ALL.iter().map(|variant| (variant.name(), variant.number())).collect()
        })
    };
    (@kind id $type:ty) => { $crate::listing::FilterKind::Id };
    (@kind http_status) => { $crate::listing::FilterKind::HttpStatus };
    (@kind idempotency_key $type:ty) => { $crate::listing::FilterKind::IdempotencyKey };
    (@kind time_from) => { $crate::listing::FilterKind::TimeFrom };
    (@kind time_to) => { $crate::listing::FilterKind::TimeTo };

    (@pattern flag $value:ident) => { $crate::listing::FilterValue::Flag($value) };
    (@pattern one_of $value:ident) => { $crate::listing::FilterValue::Number($value) };
    (@pattern id $value:ident) => { $crate::listing::FilterValue::Id($value) };
    (@pattern http_status $value:ident) => { $crate::listing::FilterValue::Number($value) };
    (@pattern idempotency_key $value:ident) => { $crate::listing::FilterValue::Id($value) };
    (@pattern $time:ident $value:ident) => { $crate::listing::FilterValue::Time($value) };

    (@typed one_of $value:ident $type:ty) => { <$type>::from_number(i64::from($value)) };
    (@typed id $value:ident $type:ty) => { Some(<$type>::from($value)) };
    (@typed idempotency_key $value:ident $type:ty) => { Some(<$type>::from($value)) };
    (@typed $plain:ident $value:ident) => { Some($value) };

    (@value flag $value:ident) => { $crate::listing::FilterValue::Flag($value) };
    (@value one_of $value:ident) => { $crate::listing::FilterValue::Number($value.number()) };
    (@value id $value:ident) => { $crate::listing::FilterValue::Id($value.0) };
    (@value http_status $value:ident) => { $crate::listing::FilterValue::Number($value) };
    (@value idempotency_key $value:ident) => { $crate::listing::FilterValue::Id($value.0) };
    (@value $time:ident $value:ident) => { $crate::listing::FilterValue::Time($value) };
}
pub(crate) use list_filter;
