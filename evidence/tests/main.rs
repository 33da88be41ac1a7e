//! The transparency log against the standards that it follows, and against other implementations of them.

mod checkpoint;
mod entries;
mod judges;
mod leaf;
mod note;
mod policy;
mod proof;
mod timestamp;
mod tree;
mod witness;
