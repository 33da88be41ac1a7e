//! A database for each test.

use std::path::Path;

use private_servers::TemporaryFolder;
use private_servers::postgres::{Durability, PostgresOptions, PrivatePostgres};
use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;
use url::Url;

use super::{process_folder, temporary_folder, unique_name};

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");

/// Advisory lock of the process that creates the template; the number is arbitrary.
const TEMPLATE_LOCK: i64 = 7_150_423;

/// A database with all migrations, for one test alone.
pub(crate) struct TestDatabase {
    server: Url,
    name: String,
}

impl TestDatabase {
    /// Creates a database on the server that all tests share.
    ///
    /// The transactions of other tests hold back `pg_snapshot_xmin`, which is the same for a whole server: a
    /// test of the position that readers of the log reach takes an [`OwnServer`].
    pub(crate) async fn create() -> Self {
        static SERVER: OnceCell<(Url, Option<PrivatePostgres>)> = OnceCell::const_new();
        let (server, _) = SERVER.get_or_init(shared_server).await;
        Self::create_on(server).await
    }

    async fn create_on(server: &Url) -> Self {
        let mut admin = PgConnection::connect(server.as_str()).await.expect("the test server");
        let template = template(server, &mut admin).await;
        let name = unique_name("test");
        execute(&mut admin, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        admin.close().await.expect("the test server");
        Self { server: server.clone(), name }
    }

    pub(crate) fn url(&self) -> String {
        url_of(&self.server, &self.name).into()
    }

    pub(crate) async fn pool(&self) -> PgPool {
        PgPoolOptions::new().max_connections(16).connect(&self.url()).await.expect("the test database")
    }

    /// Damages all data keys, or repairs those that were damaged so.
    pub(crate) async fn flip_data_keys(&self) {
        let mut connection = PgConnection::connect(&self.url()).await.expect("the test database");
        execute(
            &mut connection,
            "UPDATE data_keys SET wrapped = set_byte(wrapped, 30, get_byte(wrapped, 30) # 1)",
        )
        .await;
        connection.close().await.expect("the test database");
    }

    /// Drops the database at the end of a test. The database of a failed test exists until the server ends.
    pub(crate) async fn discard(self) {
        let mut admin = PgConnection::connect(self.server.as_str()).await.expect("the test server");
        execute(&mut admin, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
        admin.close().await.expect("the test server");
    }
}

/// Deletes the facts that match `condition`, as a failover to a standby that lacks the last commits does. The trigger
/// that refuses it does not fire in this session.
pub(crate) async fn lose_facts(pool: &PgPool, condition: &str) {
    let mut connection = pool.acquire().await.expect("a connection");
    let statements = format!(
        "SET session_replication_role = replica;
         DELETE FROM events WHERE {condition};
         RESET session_replication_role"
    );
    sqlx::raw_sql(&statements).execute(&mut *connection).await.expect("facts that are lost");
}

/// A PostgreSQL for one test alone.
pub(crate) struct OwnServer {
    // In this order, so that the server is stopped before its folder is removed.
    postgres: Option<PrivatePostgres>,
    folder: TemporaryFolder,
}

impl OwnServer {
    pub(crate) async fn start() -> Self {
        let folder = temporary_folder();
        let postgres = Some(start_in(folder.path()).await);
        Self { postgres, folder }
    }

    pub(crate) async fn create_database(&self) -> TestDatabase {
        let postgres = self.postgres.as_ref().expect("a server that runs");
        TestDatabase::create_on(&parse(&postgres.url())).await
    }

    /// Creates a database without a schema.
    pub(crate) async fn create_empty_database(&self) -> TestDatabase {
        let server = parse(&self.postgres.as_ref().expect("a server that runs").url());
        let mut admin = PgConnection::connect(server.as_str()).await.expect("the test server");
        let name = unique_name("test");
        execute(&mut admin, &format!("CREATE DATABASE {name}")).await;
        admin.close().await.expect("the test server");
        TestDatabase { server, name }
    }

    /// Stops the server as an operator would. Its databases are available again after [`Self::resume`].
    pub(crate) async fn stop(&mut self) {
        let postgres = self.postgres.take().expect("a server that runs");
        postgres.stop().await.expect("a clean stop");
    }

    /// Starts the server again, at the same address.
    pub(crate) async fn resume(&mut self) {
        assert!(self.postgres.is_none(), "the server runs already");
        self.postgres = Some(start_in(self.folder.path()).await);
    }
}

async fn shared_server() -> (Url, Option<PrivatePostgres>) {
    if let Ok(url) = std::env::var("HOOKSENTRY_TEST_DATABASE_URL") {
        return (parse(&url), None);
    }
    let postgres = start_in(&process_folder().join("postgres")).await;
    (parse(&postgres.url()), Some(postgres))
}

async fn start_in(folder: &Path) -> PrivatePostgres {
    PrivatePostgres::start(PostgresOptions::new(folder, Durability::Disposable))
        .await
        .expect("a private PostgreSQL")
}

/// Returns the name of the database that all others are copies of. The first test creates it. Its name depends on
/// the migrations, in case a server outlives a change of them.
async fn template(server: &Url, admin: &mut PgConnection) -> String {
    let migrator = Migrator::new(Path::new(MIGRATIONS)).await.expect("the migrations");
    let mut digest = Sha256::new();
    for migration in migrator.iter() {
        digest.update(migration.version.to_be_bytes());
        digest.update(&migration.checksum);
    }
    let name = format!("template_{}", hex::encode(&digest.finalize()[..8]));
    if is_template(admin, &name).await {
        return name;
    }
    execute(admin, &format!("SELECT pg_advisory_lock({TEMPLATE_LOCK})")).await;
    if !is_template(admin, &name).await {
        execute(admin, &format!("DROP DATABASE IF EXISTS {name}")).await;
        execute(admin, &format!("CREATE DATABASE {name}")).await;
        let url = url_of(server, &name);
        let mut connection = PgConnection::connect(url.as_str()).await.expect("the template");
        migrator.run(&mut connection).await.expect("migrations that can be applied");
        connection.close().await.expect("the template");
        // Last, because this marks it as complete.
        execute(admin, &format!("ALTER DATABASE {name} IS_TEMPLATE true")).await;
    }
    execute(admin, &format!("SELECT pg_advisory_unlock({TEMPLATE_LOCK})")).await;
    name
}

async fn is_template(admin: &mut PgConnection, name: &str) -> bool {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1 AND datistemplate)")
        .bind(name)
        .fetch_one(admin)
        .await
        .expect("the list of databases")
}

async fn execute(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(statement).execute(connection).await.expect(statement);
}

fn url_of(server: &Url, database: &str) -> Url {
    let mut url = server.clone();
    url.set_path(database);
    url
}

fn parse(url: &str) -> Url {
    url.parse().expect("the URL of a database")
}
