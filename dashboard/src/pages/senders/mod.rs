//! `/senders/{id}`: a named source of a destination, and its mapping.

mod example;
pub(crate) mod mapping;
pub(crate) mod one;
