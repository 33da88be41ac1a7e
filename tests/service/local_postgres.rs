//! The private PostgreSQL of `hooksentry dev`: it starts, keeps its data, and has one owner.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use private_servers::ServerError;
use private_servers::postgres::{Durability, PostgresOptions, PrivatePostgres};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

/// Environment variable with the folder in which [`a_started_server_keeps_its_data`] runs a server until the
/// test is killed.
const HOLD_VARIABLE: &str = "HOOKSENTRY_TEST_HOLD_POSTGRES_IN";
const READY: &str = "holding";

fn temporary_folder() -> TempDir {
    // As root the server runs as another user, who has to be able to enter.
    tempfile::Builder::new()
        .prefix("hooksentry-local-postgres-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

async fn start(folder: &Path) -> Result<PrivatePostgres, ServerError> {
    PrivatePostgres::start(PostgresOptions::new(folder, Durability::Durable)).await
}

async fn write(url: &str, word: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query("CREATE TABLE IF NOT EXISTS words (word text)").execute(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO words VALUES ($1)").bind(word).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn read(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let words =
        sqlx::query_scalar("SELECT word FROM words ORDER BY word").fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    words
}

async fn setting(url: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let value =
        sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    value
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::yield_now();
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("data/postmaster.pid")
}

fn server_process(folder: &Path) -> String {
    let text = fs::read_to_string(pid_file(folder)).unwrap();
    text.lines().next().unwrap().to_owned()
}

fn kill(process: &str) {
    assert!(Command::new("kill").args(["-KILL", process]).status().unwrap().success());
}

/// A process that ended but was not waited for is still listed, as a zombie.
fn is_alive(process: &str) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", process]).output().unwrap();
    let state = String::from_utf8(output.stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// Another process that owns a server, so that it can be killed without killing the test.
struct Holder {
    process: Child,
}

impl Holder {
    fn of(folder: &Path) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "local_postgres::a_started_server_keeps_its_data", "--nocapture"])
            .env(HOLD_VARIABLE, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let ready = output.lines().map_while(Result::ok).any(|line| line.ends_with(READY));
        assert!(ready, "the other process did not start its server");
        Self { process }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn a_started_server_keeps_its_data() {
    if let Some(folder) = std::env::var_os(HOLD_VARIABLE) {
        let server = start(Path::new(&folder)).await.unwrap();
        write(&server.url(), "held").await;
        println!("{READY}");
        // Ends with the test that started this process, in case it does not kill it.
        std::io::stdin().lines().for_each(drop);
        return;
    }
    let place = temporary_folder();
    let folder = place.path().join("a folder, with a name");

    let first = start(&folder).await.unwrap();
    write(&first.url(), "kept").await;
    assert_eq!(first.data_dir(), fs::canonicalize(&folder).unwrap());
    first.stop().await.unwrap();
    assert!(!pid_file(&folder).exists(), "a stopped server leaves no pid file");

    let second = start(&folder).await.unwrap();
    assert_eq!(read(&second.url()).await, ["kept"]);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn settings_are_durable_and_no_network_is_listened_to() {
    let place = temporary_folder();
    let server = start(place.path()).await.unwrap();
    for (name, value) in [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C"),
        ("timezone", "UTC"),
    ] {
        assert_eq!(setting(&server.url(), name).await, value, "{name}");
    }
    for folder in ["data", "socket"] {
        let mode = fs::metadata(place.path().join(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder} is private");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn psql_understands_the_url() {
    let place = temporary_folder();
    let server = start(&place.path().join("with blank")).await.unwrap();
    let output = Command::new("psql").args([&server.url(), "-Atc", "SELECT current_user"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "hooksentry", "{output:?}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_data_folder_with_a_long_name_has_its_socket_in_the_temporary_folder() {
    let place = temporary_folder();
    let folder = place.path().join("long".repeat(30));
    let server = start(&folder).await.unwrap();
    write(&server.url(), "reached").await;
    let socket_folder = setting(&server.url(), "unix_socket_directories").await;
    let socket_folder = Path::new(socket_folder.trim_matches('"')).to_owned();
    assert!(!socket_folder.starts_with(&folder), "{}", socket_folder.display());
    assert_eq!(fs::metadata(&socket_folder).unwrap().permissions().mode() & 0o777, 0o700);
    server.stop().await.unwrap();
    assert!(!socket_folder.exists(), "a folder outside of the data folder is removed");
}

#[tokio::test]
async fn a_second_owner_is_refused_while_the_first_lives() {
    let place = temporary_folder();
    let holder = Holder::of(place.path());
    let process = holder.process.id().to_string();

    let refusal = start(place.path()).await.unwrap_err();
    assert!(matches!(refusal, ServerError::InUse { .. }), "{refusal:?}");
    let sentence = refusal.to_string();
    assert!(sentence.contains(&process) && sentence.contains(place.path().to_str().unwrap()), "{sentence}");

    drop(holder);
    let server = start(place.path()).await.unwrap();
    assert_eq!(read(&server.url()).await, ["held"]);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_server_ends_with_a_process_that_was_killed() {
    let place = temporary_folder();
    let holder = Holder::of(place.path());
    let server = server_process(place.path());
    kill(&holder.process.id().to_string());
    wait_for("the server to end", || !is_alive(&server));
    assert!(!pid_file(place.path()).exists(), "it had the time to shut down");
}

#[tokio::test]
async fn a_server_that_outlived_its_process_is_replaced() {
    let place = temporary_folder();
    let holder = Holder::of(place.path());
    let orphan = server_process(place.path());
    for guard in guards_of(&orphan) {
        kill(&guard);
    }
    kill(&holder.process.id().to_string());
    drop(holder);
    assert!(is_alive(&orphan), "without its guard the server continues to run");

    let server = start(place.path()).await.unwrap();
    assert!(!is_alive(&orphan), "two servers on one folder");
    assert_eq!(read(&server.url()).await, ["held"]);
    server.stop().await.unwrap();
}

/// The guard that started the server and its child that waits for the end of this process.
fn guards_of(server: &str) -> Vec<String> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let processes: Vec<(&str, &str)> = text
        .lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap(), words.next().unwrap())
        })
        .collect();
    let guard = processes.iter().find(|(process, _)| *process == server).unwrap().1;
    let children = processes.iter().filter(|(process, parent)| *parent == guard && *process != server);
    std::iter::once(guard).chain(children.map(|(process, _)| *process)).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_server_that_was_killed_recovers() {
    let place = temporary_folder();
    let mut first = start(place.path()).await.unwrap();
    write(&first.url(), "committed").await;
    kill(&server_process(place.path()));
    let reason = first.unexpected_end().await;
    assert!(matches!(reason, ServerError::Ended { .. }), "{reason:?}");
    drop(first);

    let second = start(place.path()).await.unwrap();
    assert_eq!(read(&second.url()).await, ["committed"]);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_pid_file_that_names_an_unrelated_process_does_no_harm() {
    let place = temporary_folder();
    let first = start(place.path()).await.unwrap();
    write(&first.url(), "kept").await;
    let pid_file = pid_file(place.path());
    let text = fs::read_to_string(&pid_file).unwrap();
    first.stop().await.unwrap();
    // After a reboot any process may have the id: this one, or another one that does not end.
    let mut unrelated = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    for process in [std::process::id(), unrelated.id()] {
        let (_, rest) = text.split_once('\n').unwrap();
        fs::write(&pid_file, format!("{process}\n{rest}")).unwrap();

        let server = start(place.path()).await.unwrap();
        assert_eq!(read(&server.url()).await, ["kept"]);
        server.stop().await.unwrap();
    }
    assert!(unrelated.try_wait().unwrap().is_none(), "an unrelated process was killed");
    unrelated.kill().unwrap();
    unrelated.wait().unwrap();
}

#[tokio::test]
async fn an_initialization_that_was_interrupted_starts_again() {
    let place = temporary_folder();
    let unfinished = place.path().join("data.unfinished");
    fs::create_dir(&unfinished).unwrap();
    fs::write(unfinished.join("PG_VERSION"), "15\n").unwrap();

    let server = start(place.path()).await.unwrap();
    write(&server.url(), "works").await;
    assert!(!unfinished.exists());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn data_of_a_version_that_is_not_installed_is_not_touched() {
    let place = temporary_folder();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "99\n").unwrap();

    let refusal = start(place.path()).await.unwrap_err();
    assert!(matches!(refusal, ServerError::OtherVersion { needed: 99, .. }), "{refusal:?}");
    assert!(data.join("PG_VERSION").exists());
}

/// Only for root do the data belong to another user, who has to be able to enter the folder.
#[tokio::test]
async fn as_root_the_data_is_where_its_user_can_enter() {
    let place = temporary_folder();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let wanted = place.path().join("postgres");
    let server = start(&wanted).await.unwrap();
    write(&server.url(), "kept").await;
    let used = server.data_dir().to_owned();
    server.stop().await.unwrap();

    let again = start(&wanted).await.unwrap();
    assert_eq!(again.data_dir(), used, "the folder is the same each time");
    assert_eq!(read(&again.url()).await, ["kept"]);
    again.stop().await.unwrap();

    let am_root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
    assert_eq!(am_root, !used.starts_with(fs::canonicalize(place.path()).unwrap()), "{}", used.display());
    if am_root {
        fs::remove_dir_all(&used).unwrap();
        // The parent folder may contain other data.
        let _ = fs::remove_dir(used.parent().unwrap());
    }
}
