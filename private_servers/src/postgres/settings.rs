//! Settings of the server.

use std::path::Path;

use super::Durability;

/// Returns the settings of the server. They are given on the command line, so that neither a file in the data
/// folder nor ALTER SYSTEM can change them.
pub(super) fn of_server(socket_folder: &Path, durability: Durability) -> Vec<(&'static str, String)> {
    let (sync, connections) = match durability {
        Durability::Durable => ("on", "100"),
        Durability::Disposable => ("off", "500"),
    };
    // The setting is a list in which commas and blanks separate items unless they are quoted.
    let socket_folder = format!("\"{}\"", socket_folder.display().to_string().replace('"', "\"\""));
    let mut settings = vec![("unix_socket_directories", socket_folder)];
    settings.extend(
        [
            // No TCP: only users who may enter the socket's folder can use the database.
            ("listen_addresses", ""),
            ("unix_socket_permissions", "0700"),
            ("port", "5432"),
            ("max_connections", connections),
            ("fsync", sync),
            ("full_page_writes", sync),
            ("synchronous_commit", "on"),
            // There are no replicas, so the WAL needs to hold only what crash recovery reads.
            ("wal_level", "minimal"),
            ("max_wal_senders", "0"),
            ("max_wal_size", "1GB"),
            ("shared_buffers", "128MB"),
            // Our statements are short: compiling a plan costs more than running it.
            ("jit", "off"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_destination", "stderr"),
            ("logging_collector", "off"),
            ("log_checkpoints", "off"),
            ("cluster_name", "hooksentry"),
        ]
        .map(|(name, value)| (name, value.to_owned())),
    );
    settings
}
