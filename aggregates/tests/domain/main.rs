//! Specification of the domain: given facts, when a command, then facts or a refusal.

mod api_key;
mod attempt_outcome;
mod backoff;
mod circuit_breaker;
mod configuration;
mod destination;
mod destination_properties;
mod email;
mod fields;
mod framework;
mod given;
mod ids;
mod installation;
mod invite;
mod reservation;
mod role;
mod second_factor;
mod sender;
mod session;
mod stored_enum;
mod stored_facts;
mod tenant;
mod text;
mod user;
mod webhook_event;
mod webhook_event_properties;
