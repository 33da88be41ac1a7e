//! Read models on a real PostgreSQL: given facts, the rows and the results of queries.

mod given;
mod rows;

mod accepted_bytes;
mod api_keys;
mod checkpoints;
mod delivery_attempts;
mod delivery_settings;
mod delivery_statistics;
mod destinations;
mod event_status;
mod ingest_routes;
mod interleavings;
mod invites;
mod migrations;
mod portal_links;
mod registry;
mod retention;
mod senders;
mod sequence_gaps;
mod sessions;
mod tenant_scope;
mod tenants;
mod users;
mod webhook_events;
mod webhook_events_list;
mod webhook_events_pages;
