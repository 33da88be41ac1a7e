//! The dashboard as a browser without scripts uses it.

mod browser;
mod destination_pages;
mod event_pages;
mod forms;
mod mounting;
mod sender_pages;
mod sessions;
mod signing_up;
mod words;
