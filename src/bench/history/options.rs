//! What the command lines say.

use std::path::PathBuf;

use url::Url;

use crate::config::{DatabaseUrl, number_between};

/// Webhooks of one history, at most: about four kilobytes of disk each.
const EVENTS_MAX: u64 = 20_000_000;

/// Fills an installation of its own with a long history, to measure lists on it with `bench read`.
///
/// The facts go into the log, past ingest, and the running projector folds them. An installation that
/// has a tenant of anybody else's is refused: what the log has once, it has for ever.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// The HookSentry to be filled; on this machine. It must allow more tenants than usual
    /// (HOOKSENTRY_TENANT_CREATIONS_PER_HOUR=0); cheap passwords spare time.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5143")]
    pub base: Url,

    /// Its PostgreSQL.
    #[arg(long, value_name = "URL")]
    pub database_url: DatabaseUrl,

    /// Where to write what `bench read` needs to know.
    #[arg(long, value_name = "FILE", default_value = "bench-history.json")]
    pub kept: PathBuf,

    /// Webhooks of the tenant that is measured.
    #[arg(long, value_name = "NUMBER", default_value = "1000000", value_parser = number_between(1, EVENTS_MAX))]
    pub events: u64,

    /// Tenants, that one included.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = number_between(1_u64, 1_000))]
    pub tenants: u64,

    /// Webhooks of each other tenant.
    #[arg(long, value_name = "NUMBER", default_value = "2000", value_parser = number_between(0_u64, 100_000))]
    pub events_of_others: u64,

    /// Destinations of the tenant that is measured; the others have one each.
    #[arg(long, value_name = "NUMBER", default_value = "50", value_parser = number_between(1_usize, 200))]
    pub destinations: usize,

    /// Over how many days until now the webhooks came.
    #[arg(long, value_name = "NUMBER", default_value = "90", value_parser = number_between(1_u32, 3_650))]
    pub days: u32,
}

/// Asks for every kind of list over and over, and reports how long the answers took.
#[derive(Clone, Debug, clap::Args)]
pub struct ReadOptions {
    /// The HookSentry that `bench load` filled; on this machine.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5143")]
    pub base: Url,

    /// Its PostgreSQL, to tell how much room each webhook takes there.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<DatabaseUrl>,

    /// What `bench load` wrote.
    #[arg(long, value_name = "FILE", default_value = "bench-history.json")]
    pub kept: PathBuf,

    /// How often each kind of question is asked.
    #[arg(long, value_name = "NUMBER", default_value = "100", value_parser = number_between(1_u32, 10_000))]
    pub repeats: u32,

    /// Only kinds whose name contains this.
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,

    /// Questions that take longer at the 95th percentile are marked, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value = "50", value_parser = number_between(1_u32, 60_000))]
    pub bar: u32,

    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    enum Line {
        Load(LoadOptions),
        Read(ReadOptions),
    }

    #[test]
    fn the_defaults_are_read_as_what_they_are() {
        let Line::Load(load) = Line::parse_from(["bench", "load", "--database-url", "postgres://x@y/z"])
        else {
            panic!("it is load");
        };
        assert_eq!((load.tenants, load.destinations, load.days), (100, 50, 90));
        let Line::Read(read) = Line::parse_from(["bench", "read"]) else { panic!("it is read") };
        assert_eq!((read.repeats, read.bar), (100, 50));
        assert!(Line::try_parse_from(["bench", "load", "--events", "20000001"]).is_err());
    }
}
