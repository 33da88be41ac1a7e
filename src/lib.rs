//! HookSentry: accepts webhooks, keeps them safe, delivers them, and can prove what it did.

pub mod api;
pub mod clock;
pub mod commands;
pub mod completeness;
pub mod config;
pub mod database;
mod demo;
pub mod dispatcher;
pub mod event_store;
pub mod fair_share;
pub mod health;
mod hops;
pub mod http_server;
pub mod identifiers;
pub mod leadership;
pub mod lifecycle;
pub mod listen;
pub mod live;
mod open_files;
pub mod projector;
pub mod queue;
pub mod rebuild;
mod restore;
pub mod secrets;
pub mod service;
pub mod telemetry;
pub mod worker;
