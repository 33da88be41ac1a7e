//! Attacks on a running installation, and what they cost a well-behaved tenant. `make hostile` measures it; a test runs a
//! few attacks shortly.

pub mod attacker;
pub mod attacks;
mod installation;
mod neighbour;
mod processor_time;
pub mod report;
pub mod run;
