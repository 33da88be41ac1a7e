//! Pages of a list.

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub limit: i64,
    /// Items passed over before the first.
    pub offset: i64,
}

/// Which way a list runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    #[default]
    Descending,
}

impl Direction {
    pub(crate) fn is_descending(self) -> bool {
        self == Self::Descending
    }

    pub(crate) fn keyword(self) -> &'static str {
        if self.is_descending() { "DESC" } else { "ASC" }
    }
}

/// A page of a list, and how long the whole list is at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// Items that match, on all pages.
    pub total: i64,
    /// Items of this page.
    pub items: Vec<T>,
}

impl<T> Listed<T> {
    /// Reads the rows of a page as what they stand for.
    pub(crate) fn read<R>(total: i64, rows: Vec<R>) -> Result<Self, sqlx::Error>
    where
        T: TryFrom<R>,
        sqlx::Error: From<T::Error>,
    {
        let items = rows.into_iter().map(T::try_from).collect::<Result<_, _>>()?;
        Ok(Self { total, items })
    }
}

pub(crate) use crate::listing::sort_fields;
