use aggregates::ids::{SessionId, UserId};
use aggregates::role::Role;
use aggregates::session::{Closing, SessionFact};
use aggregates::tenant::TenantFact;
use aggregates::user::UserFact;
use projections::sessions::{self, SessionUser};
use sqlx::PgPool;
use uuid::Uuid;

use crate::given::{ACME, Log, at, email, id, logged_in, tenant_registered, user_registered};

fn login() -> (UserId, SessionId, Log) {
    let (user, session) = (id::<UserId>(1), id::<SessionId>(100));
    let log = Log::default().with(ACME, user, user_registered("a@acme.example", Role::Admin)).with(
        ACME,
        session,
        logged_in(user, "first"),
    );
    (user, session, log)
}

async fn user_of(pool: &PgPool, session: SessionId) -> Option<SessionUser> {
    let mut connection = pool.acquire().await.unwrap();
    sessions::user(&mut connection, session).await.unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn an_open_session_returns_its_user_as_the_user_is_now(pool: PgPool) {
    let (user, session, log) = login();
    log.clone().fold_into_all(&pool).await;
    let expected = SessionUser {
        user_id: user,
        tenant_id: ACME,
        email: email("a@acme.example"),
        role: Role::Admin,
        is_current: true,
        tenant_is_suspended: false,
    };
    assert_eq!(user_of(&pool, session).await, Some(expected.clone()));
    assert_eq!(user_of(&pool, id(101)).await, None);

    let suspended = TenantFact::TenantSuspended { reason: "spam".to_owned(), at: at(2) };
    let log = log
        .with(ACME, user, UserFact::RoleChanged { role: Role::Viewer, at: at(1) })
        .with(ACME, ACME, tenant_registered("Acme"))
        .with(ACME, ACME, suspended);
    log.fold_into_all(&pool).await;
    let expected = SessionUser { role: Role::Viewer, tenant_is_suspended: true, ..expected };
    assert_eq!(user_of(&pool, session).await, Some(expected.clone()));

    log.with(ACME, ACME, TenantFact::TenantResumed { at: at(3) }).fold_into_all(&pool).await;
    let expected = SessionUser { tenant_is_suspended: false, ..expected };
    assert_eq!(user_of(&pool, session).await, Some(expected));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_closed_session_returns_no_user(pool: PgPool) {
    let (_, session, log) = login();
    log.with(ACME, session, SessionFact::LoggedOut { closing: Closing::Logout, at: at(1) })
        .fold_into_all(&pool)
        .await;
    assert_eq!(user_of(&pool, session).await, None);
}

/// Notes that a stream has a revoking fact which no row shows yet.
async fn revoke(pool: &PgPool, stream_id: Uuid, version: i64) {
    sqlx::query!("INSERT INTO revocations (stream_id, version) VALUES ($1, $2)", stream_id, version)
        .execute(pool)
        .await
        .unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn a_session_whose_row_lacks_its_logout_returns_no_user(pool: PgPool) {
    let (_, session, log) = login();
    log.fold_into_all(&pool).await;
    revoke(&pool, session.0, 2).await;
    assert_eq!(user_of(&pool, session).await, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_user_whose_row_lacks_a_revocation_is_not_current(pool: PgPool) {
    let (user, session, log) = login();
    log.fold_into_all(&pool).await;
    revoke(&pool, user.0, 2).await;
    assert!(!user_of(&pool, session).await.unwrap().is_current);
    log.with(ACME, user, UserFact::RoleChanged { role: Role::Viewer, at: at(1) }).fold_into_all(&pool).await;
    assert!(user_of(&pool, session).await.unwrap().is_current);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_session_ends_with_the_password_that_it_was_opened_with(pool: PgPool) {
    let (user, session, log) = login();
    let changed = UserFact::PasswordChanged { at: at(1) };
    let log = log.with(ACME, user, changed);
    log.fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, session).await, None);

    // A login that was checked against the old password, but appended after the change.
    let late = id::<SessionId>(101);
    let log = log.with(ACME, late, logged_in(user, "late"));
    log.fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, late).await, None);

    let mut after = logged_in(user, "after");
    if let SessionFact::LoggedIn { credentials_version, .. } = &mut after {
        *credentials_version = 2;
    }
    log.with(ACME, id::<SessionId>(102), after).fold_into_all(&pool).await;
    assert!(user_of(&pool, id(102)).await.is_some());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_session_of_an_inactive_or_deleted_user_returns_no_user(pool: PgPool) {
    let (user, session, log) = login();
    let log = log.with(ACME, user, UserFact::UserDeactivated { at: at(1) });
    log.fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, session).await, None);

    let log = log.with(ACME, user, UserFact::UserActivated { at: at(2) });
    log.fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, session).await, None, "a deactivation ends the sessions for good");

    log.with(ACME, user, UserFact::UserDeleted { at: at(3) }).fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, session).await, None);
}
