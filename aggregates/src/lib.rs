//! Domain of HookSentry: the state of each aggregate, the commands it accepts and the facts that follow.
//!
//! This crate does no I/O, reads no clock and draws no random numbers. Times, ids, secrets and the results of HTTP
//! requests are fields of commands. [`Decide::decide`] returns facts or a refusal, without side effects; `apply` folds
//! a fact into the state and cannot fail. The same facts and the same command therefore always give the same result.
//!
//! # Vocabulary
//!
//! Code, documents and API use these words in these meanings only.
//!
//! ## The log
//!
//! | Word | Meaning |
//! |---|---|
//! | fact | Domain event: one row of the event log. Facts are never changed or deleted. "Event" alone means a webhook event. |
//! | aggregate | Unit of consistency, such as one destination. Its state is the fold of its facts. |
//! | command | Request to an aggregate. It is refused, ignored, or leads to facts. |
//! | refusal | Typed reason why an aggregate does not execute a command. |
//! | stream | Facts of one aggregate in order. Its **version** is the number of its facts. |
//! | log | Facts of all streams in one total order, in the table `events`. |
//! | log position | Place of a fact in that order: transaction id, then position. |
//! | era | Part of the log that one database cluster has written. Every restore into another cluster begins the next one. |
//! | stored form | JSON of a fact, with a version of its own. Older versions are converted when they are read ([`upcasting`]). |
//! | read model | Tables that a **projection** folds from the log and that answer the queries of the API. |
//! | rebuild | Folding a read model from the start of the log into new tables, which then replace the old ones. |
//! | drift | Difference between a read model and the fold of the log. |
//!
//! ## Ingest
//!
//! | Word | Meaning |
//! |---|---|
//! | webhook event | One JSON payload that a source sent and the service accepted. |
//! | acceptance | Storing a webhook event, with its fact and its payload. The source then gets a 202. |
//! | payload | Bytes of a webhook event, stored in the table `payloads`, outside the log, so that they can be erased. |
//! | ingest token, API key | The two secrets that a source presents: the token selects destination or sender, the key the tenant. |
//! | idempotency key | Chosen by the source. A second webhook event with the same key is answered with the first. It is in no fact. |
//! | mapping | Rule of a sender that transforms payloads ([`mapping`]). |
//! | reservation | Stream that makes a tenant name or an email address unique ([`reservation`]). |
//!
//! ## Delivery
//!
//! | Word | Meaning |
//! |---|---|
//! | delivery | All attempts to send one webhook event to its destination. |
//! | attempt | One HTTP request of a delivery. |
//! | attempt claim | Right to make one attempt. A worker gets it by appending `DeliveryStarted` at the version in its job. |
//! | outcome | Result of an attempt, such as `timeout` ([`attempt_outcome`]). |
//! | critical failure | End of a delivery whose attempts are used up. |
//! | replay | New delivery of an event in critical failure, with the full number of attempts. |
//! | bulk action | Replay or cancellation of all events that match a filter, carried out in steps ([`bulk_action`]). |
//! | circuit breaker | Suspends a destination after consecutive failures and probes it later ([`destination`]). |
//! | stage | State of a destination: active, inactive, suspended (breaker open) or probing (breaker half open). |
//! | lane | Events that wait for one destination, in the memory of the dispatcher. |
//! | job | Message in the queue that asks a worker for one attempt. |
//! | permit | Right to one of the concurrent attempts that a limit allows. |
//! | epoch | Number of times that the leadership of a role was acquired. Jobs and writes of an older epoch are void. |
//!
//! ## Secrets and retention
//!
//! | Word | Meaning |
//! |---|---|
//! | portal link | Credential of a customer of the tenant: shows the deliveries of one destination until it ends ([`portal_link`]). |
//! | sealed | Encrypted under a data key, which is encrypted under the operator's master key ([`sealed`]). |
//! | fingerprint | Start of the hash of a secret. It distinguishes secrets without revealing them. |
//! | second factor | Proof besides the password that a login needs: a code of an authenticator app, or a recovery code ([`second_factor`]). |
//! | retention | Periods after which payloads and ended events are removed, per tenant. The log keeps all facts. |
//! | erasure | Deletion of a payload, or of the personal data of a user. The facts remain. |
//! | origin | Client address and user agent of a request that caused facts, stored outside the log. |
//! | legal hold | Forbids erasure and retention of what belongs to a tenant or a destination ([`legal_hold`]). |
//!
//! # Aggregates
//!
//! | Aggregate | Represents | File |
//! |---|---|---|
//! | [`WebhookEvent`](webhook_event::WebhookEvent) | one accepted webhook event and its delivery | `webhook_event.rs` |
//! | [`Destination`](destination::Destination) | one URL with its limit, credentials and circuit breaker | `destination.rs` |
//! | [`Sender`](sender::Sender) | one source of a destination, with its mapping | `sender.rs` |
//! | [`Tenant`](tenant::Tenant) | one account: name, owners, retry policy, retention, signing secret | `tenant.rs` |
//! | [`User`](user::User) | one person of a tenant | `user.rs`, `second_factor.rs` |
//! | [`Session`](session::Session) | one login and its refresh tokens | `session.rs` |
//! | [`Invite`](invite::Invite) | one invitation to a tenant | `invite.rs` |
//! | [`ApiKey`](api_key::ApiKey) | one key for ingest | `api_key.rs` |
//! | [`PortalLink`](portal_link::PortalLink) | one link for a customer to the deliveries of one destination | `portal_link.rs` |
//! | [`BulkAction`](bulk_action::BulkAction) | one replay or cancellation of many events | `bulk_action.rs` |
//! | [`Erasure`](erasure::Erasure) | one erasure of the payloads of many events | `erasure.rs` |
//! | [`LegalHold`](legal_hold::LegalHold) | the legal hold on one tenant or destination | `legal_hold.rs` |
//! | [`Access`](access::Access) | who was shown a payload, a secret, or the audit trail | `access.rs` |
//! | [`Reservation`](reservation::Reservation) | one unique name or email address | `reservation.rs` |
//! | [`Installation`](installation::Installation) | the log as a whole and its restores | `installation.rs` |
//!
//! Each file reads from top to bottom: state, commands, facts, refusals, `decide`, `fold`.

#[macro_use]
mod decision;

pub mod access;
pub mod api_key;
pub mod attempt_outcome;
pub mod backoff;
pub mod blocked_addresses;
pub mod bulk_action;
pub mod circuit_breaker;
pub mod configuration;
pub mod destination;
pub mod destination_url;
pub mod email;
pub mod erasure;
pub mod fact;
pub mod ids;
pub mod installation;
pub mod invite;
pub mod legal_hold;
pub mod mapping;
pub mod outbound_auth;
pub mod outbound_credentials;
pub mod payload;
pub mod payload_search;
pub mod portal_link;
pub mod reservation;
pub mod role;
pub mod sealed;
pub mod second_factor;
pub mod sender;
pub mod session;
pub mod stored_enum;
pub mod target_rules;
pub mod tenant;
pub mod text;
pub mod upcasting;
pub mod user;
pub mod webhook_event;

pub use decision::{Decide, Facts};
