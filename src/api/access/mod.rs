//! Who calls, and what a caller may do.

pub(crate) mod access_tokens;
pub(crate) mod authentication;
pub(crate) mod permissions;
pub(crate) mod principal;
pub(crate) mod recorder;
pub(crate) mod second_factors;
