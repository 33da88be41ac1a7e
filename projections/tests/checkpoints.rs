use std::time::Duration;

use projections::checkpoints::{self, CheckpointFailure, Move};
use projections::{LogPosition, TransactionId};
use sqlx::PgPool;

fn place(transaction_id: u64, position: i64) -> LogPosition {
    LogPosition { transaction_id: TransactionId(transaction_id), position }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_new_reader_begins_at_the_first_fact_and_continues_at_its_checkpoint(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(checkpoints::take_over(&mut connection, "reader", 1).await.unwrap(), place(0, 0));
    // Beyond the range of a signed number.
    let far = place(u64::MAX - 1, 42);
    checkpoints::advance(&mut connection, "reader", 1, far).await.unwrap();
    assert_eq!(checkpoints::take_over(&mut connection, "reader", 2).await.unwrap(), far);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_replaced_owner_moves_nothing(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    checkpoints::take_over(&mut connection, "reader", 1).await.unwrap();
    checkpoints::advance(&mut connection, "reader", 1, place(10, 1)).await.unwrap();
    checkpoints::take_over(&mut connection, "reader", 2).await.unwrap();

    let refused = checkpoints::advance(&mut connection, "reader", 1, place(20, 2)).await;
    assert!(matches!(refused, Err(CheckpointFailure::Fenced)), "{refused:?}");
    let refused = checkpoints::take_over(&mut connection, "reader", 1).await;
    assert!(matches!(refused, Err(CheckpointFailure::Fenced)), "{refused:?}");
    let kept = checkpoints::load(&mut connection, &["reader"]).await.unwrap();
    assert_eq!(kept[0].position, place(10, 1));
    checkpoints::advance(&mut connection, "reader", 2, place(20, 2)).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn an_owner_that_was_replaced_within_its_transaction_commits_nothing(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    checkpoints::take_over(&mut connection, "reader", 1).await.unwrap();

    // The old owner has written its rows and is paused before it moves its checkpoint.
    let mut paused = pool.begin().await.unwrap();
    sqlx::query!("INSERT INTO leaderships (role) VALUES ('a row of the old owner')")
        .execute(&mut *paused)
        .await
        .unwrap();
    checkpoints::take_over(&mut connection, "reader", 2).await.unwrap();
    let refused = checkpoints::advance(&mut paused, "reader", 1, place(10, 1)).await;
    assert!(matches!(refused, Err(CheckpointFailure::Fenced)), "{refused:?}");
    paused.rollback().await.unwrap();

    let checkpoint = checkpoints::load(&mut connection, &["reader"]).await.unwrap();
    assert_eq!(checkpoint[0].position, place(0, 0));
}

#[sqlx::test(migrations = "../migrations")]
async fn one_fenced_reader_fences_the_whole_move(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    checkpoints::take_over_all(&mut connection, &["one", "two"], 1).await.unwrap();
    checkpoints::take_over(&mut connection, "two", 2).await.unwrap();
    let moves = ["one", "two"].map(|reader| Move { reader, to: place(5, 5), halted_because: None });
    let mut transaction = pool.begin().await.unwrap();
    let refused = checkpoints::advance_all(&mut transaction, 1, &moves).await;
    assert!(matches!(refused, Err(CheckpointFailure::Fenced)), "{refused:?}");
    transaction.rollback().await.unwrap();
    let kept = checkpoints::load(&mut connection, &["one", "two", "three"]).await.unwrap();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|checkpoint| checkpoint.position == place(0, 0)));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_halted_reader_is_not_waited_for_and_its_next_owner_tries_again(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let readers = ["halted", "live"];
    checkpoints::take_over_all(&mut connection, &readers, 1).await.unwrap();
    assert!(!checkpoints::have_reached(&mut connection, &readers, place(10, 1)).await.unwrap());

    let halt = Move {
        reader: "halted",
        to: place(3, 3),
        halted_because: Some("the fact at 4 does not apply".to_owned()),
    };
    let live = Move { reader: "live", to: place(10, 1), halted_because: None };
    checkpoints::advance_all(&mut connection, 1, &[halt, live]).await.unwrap();
    assert!(checkpoints::have_reached(&mut connection, &readers, place(10, 1)).await.unwrap());
    assert!(!checkpoints::have_reached(&mut connection, &readers, place(10, 2)).await.unwrap());
    // A reader that has not begun has reached nothing.
    assert!(!checkpoints::have_reached(&mut connection, &["live", "new"], place(10, 1)).await.unwrap());

    let taken = checkpoints::take_over_all(&mut connection, &readers, 2).await.unwrap();
    let halted = taken.iter().find(|checkpoint| checkpoint.reader == "halted").unwrap();
    assert_eq!((halted.position, halted.halted_because.as_deref()), (place(3, 3), None));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_reader_that_is_far_behind_is_not_waited_for(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let readers = ["front", "new"];
    checkpoints::take_over_all(&mut connection, &readers, 1).await.unwrap();
    let far = checkpoints::BEHIND_FACTS_MAX + 1;
    checkpoints::advance(&mut connection, "front", 1, place(10, far)).await.unwrap();
    assert!(checkpoints::have_reached(&mut connection, &readers, place(10, far)).await.unwrap());
    assert!(!checkpoints::have_reached(&mut connection, &readers, place(10, far + 1)).await.unwrap());
    checkpoints::advance(&mut connection, "new", 1, place(1, 1)).await.unwrap();
    assert!(!checkpoints::have_reached(&mut connection, &readers, place(10, far)).await.unwrap());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_held_checkpoint_does_not_move_until_it_is_released_or_replaced(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    checkpoints::take_over_all(&mut connection, &["one", "two"], 1).await.unwrap();
    let held = checkpoints::hold(&mut connection, "one", Duration::from_secs(3_600)).await.unwrap();
    assert_eq!((held.position, held.halted), (place(0, 0), false));
    let refused = checkpoints::advance(&mut connection, "one", 1, place(5, 5)).await;
    assert!(matches!(refused, Err(CheckpointFailure::Held)), "{refused:?}");
    // A replaced owner gets `Fenced`, and not `Held`, after which it would retry.
    let refused = checkpoints::advance(&mut connection, "one", 0, place(5, 5)).await;
    assert!(matches!(refused, Err(CheckpointFailure::Fenced)), "{refused:?}");
    checkpoints::advance(&mut connection, "two", 1, place(5, 5)).await.unwrap();

    checkpoints::release(&mut connection, "one").await.unwrap();
    checkpoints::advance(&mut connection, "one", 1, place(5, 5)).await.unwrap();
    assert!(!checkpoints::replace(&mut connection, "one", &held, place(5, 5)).await.unwrap(), "it moved");
    // A hold expires by itself.
    checkpoints::hold(&mut connection, "one", Duration::ZERO).await.unwrap();
    checkpoints::advance(&mut connection, "one", 1, place(6, 6)).await.unwrap();

    let halt = Move { reader: "one", to: place(6, 6), halted_because: Some("a misfit".to_owned()) };
    checkpoints::advance_all(&mut connection, 1, &[halt]).await.unwrap();
    let held = checkpoints::hold(&mut connection, "one", Duration::from_secs(3_600)).await.unwrap();
    assert!(checkpoints::replace(&mut connection, "one", &held, place(9, 9)).await.unwrap());
    let replaced = checkpoints::load(&mut connection, &["one"]).await.unwrap().remove(0);
    assert_eq!((replaced.position, replaced.halted_because, replaced.held), (place(9, 9), None, false));
}

#[sqlx::test(migrations = "../migrations")]
async fn lag_is_the_distance_of_a_reader_from_the_end_of_the_log(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let empty = checkpoints::lag(&mut connection, &["reader"]).await.unwrap();
    assert_eq!((empty[0].facts, empty[0].age.as_nanos()), (0, 0));

    sqlx::query!(
        r#"
        INSERT INTO events
            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        SELECT 'User', gen_random_uuid()::text, 1, 'UserRegistered', '1.0', '{}', '{}'
        FROM generate_series(1, 3)
        "#
    )
    .execute(&pool)
    .await
    .unwrap();
    let behind = checkpoints::lag(&mut connection, &["reader"]).await.unwrap();
    assert_eq!(behind[0].facts, 3);

    let end = sqlx::query_as!(
        LogPosition,
        r#"
        SELECT transaction_id AS "transaction_id: _", position
        FROM events
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    checkpoints::take_over(&mut connection, "reader", 1).await.unwrap();
    checkpoints::advance(&mut connection, "reader", 1, end).await.unwrap();
    let caught_up = checkpoints::lag(&mut connection, &["reader"]).await.unwrap();
    assert_eq!((caught_up[0].facts, caught_up[0].age.as_nanos()), (0, 0));
}
