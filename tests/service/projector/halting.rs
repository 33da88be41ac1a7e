//! Facts that do not apply, and the projections that halt at them.

use aggregates::user::{User, UserCommand};
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use projections::Projection;
use uuid::Uuid;

use crate::harness::log_fixture::Fixture;
use crate::harness::until;

#[tokio::test]
async fn a_row_that_lacks_a_fact_of_the_log_halts_its_projection_and_no_other() {
    let fixture = Fixture::new().await;
    let mut term = fixture.lead().await;
    let (before, _) = fixture.register_tenant(1).await;
    let (user, _) = fixture.register_user(7).await;
    fixture.catch_up(&mut term).await;
    fixture.execute("DELETE FROM users").await;
    let gone = UserCommand::Delete { at: clock::now() };
    let metadata = Metadata::of_role(before, "test");
    fixture.store.execute::<User>(user.0, gone, &metadata).await.expect("a fact");
    let (after, _) = fixture.register_tenant(2).await;
    fixture.catch_up(&mut term).await;

    assert!(fixture.tenant_is_shown(before).await);
    assert!(fixture.tenant_is_shown(after).await);
    let halted = fixture.halted().await;
    assert_eq!(halted.len(), 1, "{halted:?}");
    let (projection, because) = &halted[0];
    assert_eq!(*projection, Projection::Users);
    assert!(because.contains("version 2"), "{because}");
    assert!(because.contains(&user.to_string()), "{because}");

    // The others continue, and the halted one is not waited for.
    let (later, _) = fixture.register_tenant(3).await;
    fixture.catch_up(&mut term).await;
    assert!(fixture.tenant_is_shown(later).await);
    fixture.discard().await;
}

#[tokio::test]
async fn an_unreadable_fact_halts_the_projections_that_must_fold_it() {
    let fixture = Fixture::new().await;
    let mut term = fixture.lead().await;
    let (user, _) = fixture.register_user(1).await;
    fixture.insert_fact("User", Uuid::from_u128(50), 1, r#"{"UserKnighted":{}}"#).await;
    fixture.insert_fact("Spaceship", Uuid::from_u128(51), 1, r#"{"Launched":{}}"#).await;
    fixture.insert_fact("User", Uuid::from_u128(52), 1, r#"{"UserKnighted":{}}"#).await;
    let (unseen, _) = fixture.register_user(2).await;
    let (tenant, _) = fixture.register_tenant(1).await;
    fixture.catch_up(&mut term).await;

    let halted = fixture.halted().await;
    assert_eq!(halted.iter().map(|(projection, _)| *projection).collect::<Vec<_>>(), [Projection::Users]);
    let because = &halted[0].1;
    assert!(because.contains(&Uuid::from_u128(50).to_string()), "{because}");
    assert!(because.contains("UserKnighted"), "{because}");
    assert!(fixture.user_is_shown(user).await, "what comes before the fact is shown");
    assert!(!fixture.user_is_shown(unseen).await, "nothing is skipped");
    assert!(fixture.tenant_is_shown(tenant).await);
    fixture.discard().await;
}

#[tokio::test]
async fn the_next_leader_tries_a_halted_projection_again_and_it_misses_nothing() {
    let fixture = Fixture::new().await;
    let mut term = fixture.lead().await;
    let constrain =
        "ALTER TABLE users ADD CONSTRAINT no_second CHECK (id <> '00000000-0000-0000-0000-000000000002')";
    sqlx::query(constrain).execute(&fixture.pool).await.expect("a constraint");
    let mut positions = vec![];
    for number in 1..=3 {
        positions.push(fixture.register_user(number).await);
    }
    let (tenant, _) = fixture.register_tenant(1).await;
    fixture.catch_up(&mut term).await;
    assert!(fixture.tenant_is_shown(tenant).await);
    assert_eq!(fixture.halted().await.len(), 1);
    assert!(fixture.user_is_shown(positions[0].0).await);
    assert!(!fixture.user_is_shown(positions[2].0).await);
    // Further facts do not move the checkpoint of the halted projection.
    fixture.register_tenant(2).await;
    fixture.catch_up(&mut term).await;
    drop(term);

    sqlx::query("ALTER TABLE users DROP CONSTRAINT no_second").execute(&fixture.pool).await.expect("no more");
    let mut term = fixture.lead().await;
    assert!(fixture.halted().await.is_empty());
    fixture.catch_up(&mut term).await;
    for (user, _) in positions {
        assert!(fixture.user_is_shown(user).await);
    }
    fixture.discard().await;
}

#[tokio::test]
async fn a_missing_table_halts_no_projection() {
    let fixture = Fixture::new().await;
    let mut term = fixture.lead().await;
    // As with a migration of another version, or without the right to use the table.
    fixture.execute("ALTER TABLE users RENAME TO users_of_another_version").await;
    let (user, _) = fixture.register_user(1).await;
    until("a step to fail", async || term.run_once().await.err()).await;
    assert!(fixture.halted().await.is_empty());
    drop(term);

    fixture.execute("ALTER TABLE users_of_another_version RENAME TO users").await;
    let mut term = fixture.lead().await;
    fixture.catch_up(&mut term).await;
    assert!(fixture.user_is_shown(user).await);
    fixture.discard().await;
}
