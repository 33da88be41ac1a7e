//! `hooksentry openapi`: prints the description of the API, for tools that do not request it from a running
//! service.

use std::io::{self, Write};

use crate::api;

/// Print the OpenAPI 3.1 description of the API.
#[derive(Debug, clap::Args)]
pub struct Openapi {}

impl Openapi {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &api::openapi())?;
        Ok(writeln!(out)?)
    }
}
