//! Texts of others, times and sizes as pages show them.

pub(crate) mod foreign;
pub(crate) mod json;
pub(crate) mod times;
