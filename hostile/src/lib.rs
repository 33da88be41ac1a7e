//! Attacks on a running installation, and what they cost a well-behaved tenant. `make hostile` measures it; a test runs a
//! few attacks shortly.

pub mod attacks;
mod installation;
mod neighbour;
pub mod report;
pub mod run;
