//! Tests of the whole service against real parts.

mod api_auth;
mod api_bodies;
mod api_conventions;
mod api_destinations;
mod api_events;
mod api_ingest;
mod api_invites;
mod api_routes;
mod api_tenants;
mod api_users;
mod bench;
mod crash;
mod database;
mod delivery;
mod demo;
mod event_store;
mod harness;
mod live;
mod local_postgres;
mod outbound;
mod private_services;
mod projector;
mod queue;
mod settings;
mod startup;
mod vault;
