//! The transparency log against the standards that it follows, and against other implementations of them.

mod leaf;
mod tree;
