//! HookSentry's domain: what may happen, what it is called, and what follows from it.
//!
//! Nothing in this crate performs IO, asks for the time or draws a random number. Time, ids, secrets
//! and the results of HTTP requests arrive as fields of a command; `decide` answers with facts or with
//! a refusal; `apply` folds facts and can do neither wrong.
//!
//! # Glossary
//!
//! * A **webhook event** is what a source sent to the ingest endpoint.
//! * A **fact** (domain event) is one row of the event log. Facts are never changed.
//! * A **delivery** is the work of getting one webhook event to its destination.
//! * An **attempt** is one HTTP request of a delivery.
//! * A **stream** is the facts of one aggregate; the **log** is all streams in their total order.
//! * A **claim** is the stream that makes a name or an email unique.
//!
//! # Aggregates
//!
//! | Aggregate | Its stream is | File |
//! |---|---|---|
//! | [`WebhookEvent`](webhook_event::WebhookEvent) | one accepted webhook and every attempt to deliver it | `webhook_event.rs` |
//! | [`Destination`](destination::Destination) | one URL, its limit, its credentials and its breaker | `destination.rs` |
//! | [`Sender`](sender::Sender) | one source of a destination, with its mapping | `sender.rs` |
//! | [`Tenant`](tenant::Tenant) | one account: name, owners, resilience, retention, signing secret | `tenant.rs` |
//! | [`User`](user::User) | one person of a tenant | `user.rs` |
//! | [`Session`](session::Session) | one login and its refreshes | `session.rs` |
//! | [`Invite`](invite::Invite) | one invitation to a tenant | `invite.rs` |
//! | [`ApiKey`](api_key::ApiKey) | one key for ingest | `api_key.rs` |
//! | [`Reservation`](reservation::Reservation) | one unique name | `claim.rs` |

#[macro_use]
mod decision;

pub mod api_key;
pub mod attempt_outcome;
pub mod backoff;
pub mod blocked_addresses;
pub mod circuit_breaker;
pub mod configuration;
pub mod destination;
pub mod destination_url;
pub mod email;
pub mod fact;
pub mod ids;
pub mod invite;
pub mod mapping;
pub mod outbound_auth;
pub mod outbound_credentials;
pub mod payload;
pub mod reservation;
pub mod role;
pub mod sealed;
pub mod sender;
pub mod session;
pub mod stored_enum;
pub mod tenant;
pub mod text;
pub mod upcasting;
pub mod user;
pub mod webhook_event;

pub use decision::{Decide, Facts};
