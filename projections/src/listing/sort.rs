//! Sort fields: what a caller can sort a list by.

/// The sort fields of a list, declared with `sort_fields!`. The default is the order without `CpOrd`.
pub trait SortFields: Copy + Default + Eq + 'static {
    const ALL: &'static [Self];

    /// Name in the API.
    fn name(self) -> &'static str;
}

/// Sort fields that are each one SQL expression.
pub(crate) trait SortColumns: SortFields {
    fn column(self) -> &'static str;
}

/// Declares the sort fields of a list: variant, name in the API and, unless the list has statements of its
/// own, the column or expression to sort by.
macro_rules! sort_fields {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$note:meta])* $variant:ident => $text:literal, $column:literal;)+
    }) => {
        $crate::listing::sort_fields! {
            $(#[$doc])* $name { $($(#[$note])* $variant => $text),+ }
        }

        impl $crate::listing::SortColumns for $name {
            fn column(self) -> &'static str {
                match self { $(Self::$variant => $column),+ }
            }
        }
    };
    ($(#[$doc:meta])* $name:ident { $($(#[$note:meta])* $variant:ident => $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            $(
                $(#[$note])*
                #[doc = concat!("By `", $text, "`.")]
                $variant,
            )+
        }

        impl $name {
            /// Every field.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Name in the API.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl $crate::listing::SortFields for $name {
            const ALL: &'static [Self] = Self::ALL;

            fn name(self) -> &'static str {
                self.name()
            }
        }
    };
}
pub(crate) use sort_fields;
