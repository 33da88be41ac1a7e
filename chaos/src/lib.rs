//! Fault suite of HookSentry.
//!
//! It starts PostgreSQL, RabbitMQ and several processes of HookSentry, sends webhooks to misbehaving receivers,
//! injects faults that follow from a seed, and records what clients were told and what receivers got. A checker
//! compares this history with the log. `make chaos` runs it; `docs/reliability.md` has the results.

pub mod checker;
pub mod faults;
pub mod history;
mod installation;
mod load;
mod log;
mod receivers;
mod recorder;
pub mod report;
pub mod run;
mod tenants;
