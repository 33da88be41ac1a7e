//! The transparency log of the caller's tenant: C2SP tlog-tiles v0.1.0.

pub(crate) mod checkpoint;
pub(crate) mod proof;
pub(crate) mod tile;
