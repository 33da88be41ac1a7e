//! The dashboard as a browser without scripts uses it.

mod account_pages;
mod administration_pages;
mod audit_pages;
mod browser;
mod bulk_action_pages;
mod destination_pages;
mod erasure_pages;
mod event_pages;
mod forms;
mod mounting;
mod portal_pages;
mod sender_pages;
mod sessions;
mod signing_pages;
mod signing_up;
mod system_page;
mod words;
