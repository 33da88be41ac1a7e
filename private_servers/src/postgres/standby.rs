//! A standby: a copy of a running server that follows it.

use std::fs;
use std::path::Path;

use super::PrivatePostgres;
use crate::error::{ServerError, failure};

impl PrivatePostgres {
    /// Copies the running server to the new folder `data_dir`. [`PrivatePostgres::start`] with that folder starts
    /// a standby that follows the server at `primary`, a connection string of libpq. The server needs arguments
    /// that allow it: `wal_level=replica` and some `max_wal_senders`.
    ///
    /// # Errors
    /// The folder cannot be created, or the copy fails.
    pub async fn create_standby(&self, data_dir: &Path, primary: &str) -> Result<(), ServerError> {
        let data = data_dir.join("data");
        fs::create_dir_all(data_dir).map_err(failure("create", data_dir))?;
        self.user.own_folder(&data).map_err(failure("create", &data))?;
        let mut copy = self.user.command(&self.installation.program("pg_basebackup"));
        copy.args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "--no-sync"])
            .arg(format!("--dbname={primary}"))
            .arg("--pgdata")
            .arg(&data);
        self.user.run(&mut copy).await?;
        Ok(())
    }
}
