//! Pages of a list.

/// Part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub limit: i64,
    /// Items before the first of the page.
    pub offset: i64,
}

/// Order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    Ascending,
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

/// A page of a list, and the length of the whole list at the same moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// Number of items on all pages.
    pub total: i64,
    pub items: Vec<T>,
}

impl<T> Listed<T> {
    /// Converts the rows of a page.
    ///
    /// # Errors
    /// When a row cannot be converted.
    pub(crate) fn read<R>(total: i64, rows: Vec<R>) -> Result<Self, sqlx::Error>
    where
        T: TryFrom<R>,
        sqlx::Error: From<T::Error>,
    {
        let items = rows.into_iter().map(T::try_from).collect::<Result<_, _>>()?;
        Ok(Self { total, items })
    }
}
