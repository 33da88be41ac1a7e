//! Creation of the data folder and the database.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use super::folder::Folder;
use super::installation::Installation;
use super::{Durability, NAME};
use crate::error::{ServerError, failure};
use crate::server_user::ServerUser;

/// Creates the data folder. It is renamed into place when it is complete, so that a crash leaves nothing that
/// could be taken for data.
pub(super) async fn create_data(
    folder: &Folder,
    installation: &Installation,
    user: &ServerUser,
    durability: Durability,
) -> Result<(), ServerError> {
    let unfinished = folder.unfinished_data();
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failure("remove", &unfinished))?;
    }
    user.own_folder(&unfinished).map_err(failure("create", &unfinished))?;
    let mut initdb = user.command(&installation.program("initdb"));
    initdb
        .args(["--username", NAME, "--encoding=UTF8", "--locale=C", "--no-instructions"])
        // Access is controlled by the permissions of the socket's folder.
        .args(["--auth-local=trust", "--auth-host=reject"])
        .arg("-D")
        .arg(&unfinished);
    if durability == Durability::Disposable {
        initdb.arg("--no-sync");
    }
    user.run(&mut initdb).await?;
    create_database(&unfinished, installation, user, durability).await?;
    fs::rename(&unfinished, folder.data()).map_err(failure("rename", &unfinished))?;
    if durability == Durability::Durable {
        folder.sync()?;
    }
    Ok(())
}

/// Creates the database in single-user mode, which needs no client.
async fn create_database(
    data: &Path,
    installation: &Installation,
    user: &ServerUser,
    durability: Durability,
) -> Result<(), ServerError> {
    let program = installation.program("postgres");
    let mut command = user.command(&program);
    command.args(["--single", "-c", "exit_on_error=on"]);
    if durability == Durability::Disposable {
        command.args(["-c", "fsync=off"]);
    }
    command.arg("-D").arg(data).arg("postgres");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let not_run = |source| ServerError::NotRun { program: program.clone(), source };
    let mut process = command.spawn().map_err(not_run)?;
    if let Some(mut input) = process.stdin.take() {
        let statement = format!("CREATE DATABASE {NAME}\n");
        input.write_all(statement.as_bytes()).await.map_err(not_run)?;
    }
    let output = process.wait_with_output().await.map_err(not_run)?;
    if output.status.success() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
    Err(ServerError::ProgramFailed { program, output })
}
