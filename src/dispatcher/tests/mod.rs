//! The dispatcher's memory, without a database: what it releases, when, and how many at once.
//!
//! [`world`] plays everything around the schedule (the log, the tables, the queue, the workers), so that
//! a test can have anything happen in any order.

mod breaker_rules;
mod properties;
mod releasing;
mod restart;
mod tables;
mod timing;
mod truth;
mod world;
