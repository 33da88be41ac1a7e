//! A few attacks, shortly, on the program that was built with this test.

use std::path::PathBuf;
use std::time::Duration;

use hooksentry_hostile::attacks::Attack;
use hooksentry_hostile::run::{RunOptions, measure};
use private_servers::TemporaryFolder;
use private_servers::postgres::{Durability, PostgresOptions, PrivatePostgres};

/// Attacks of strangers and of tenants whose limits are met within seconds.
const ATTACKS: [Attack; 4] = [Attack::SlowBodies, Attack::LoginFlood, Attack::PasswordChanges, Attack::Loop];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attacks_meet_their_limits_and_cost_the_neighbour_no_delivery() {
    let folder = TemporaryFolder::create().expect("a folder");
    let postgres = PrivatePostgres::start(PostgresOptions::new(folder.path(), Durability::Disposable));
    let postgres = postgres.await.expect("a private PostgreSQL");
    let options = RunOptions {
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(3),
        program: program("hooksentry"),
        attacker: program("hooksentry-hostile"),
        database_url: postgres.url(),
    };
    for attack in ATTACKS {
        let effect = measure(attack, &options).await.expect("an attack");
        eprintln!("{effect}");
        assert!(effect.is_unharmed(), "{effect:?}");
        assert_eq!(effect.met_its_limit(), Some(true), "{effect:?}");
    }
    postgres.stop().await.expect("a clean stop");
}

/// Returns a program of the workspace, which is next to the folder of this test.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("the folder of the build");
    folder.join(name)
}
