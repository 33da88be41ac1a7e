//! Queues of the events that wait for delivery to a destination.

pub(crate) mod purge;
