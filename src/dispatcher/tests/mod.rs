//! The dispatcher's logic without a database: what it releases, when, and how many at once.
//!
//! The tests run the production [`DispatchCore`](super::dispatch_core::DispatchCore) on [`model`], which plays the log, the
//! tables, the queue and the workers in memory, so that a test can make events happen in any order.

mod acceptances;
mod ahead_of_log;
mod breaker;
mod expectations;
mod model;
mod permit_leases;
mod properties;
mod releasing;
mod restart;
mod set_aside;
mod suspended_tenants;
mod tables;
mod timing;
