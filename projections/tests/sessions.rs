use aggregates::ids::{SessionId, UserId};
use aggregates::role::Role;
use aggregates::session::{Closing, IssuedTokens, SessionFact};
use aggregates::user::UserFact;
use chrono::TimeDelta;
use projections::sessions::{self, SessionUser};
use sqlx::PgPool;

use crate::given::{ACME, Log, at, email, id, logged_in, tokens, user_registered};

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
    let expected =
        SessionUser { user_id: user, tenant_id: ACME, email: email("a@acme.example"), role: Role::Admin };
    assert_eq!(user_of(&pool, session).await, Some(expected.clone()));
    assert_eq!(user_of(&pool, id(101)).await, None);

    log.with(ACME, user, UserFact::RoleChanged { role: Role::Viewer, at: at(1) }).fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, session).await, Some(SessionUser { role: Role::Viewer, ..expected }));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_closed_session_returns_no_user(pool: PgPool) {
    let (user, session, log) = login();
    log.with(ACME, session, SessionFact::LoggedOut { closing: Closing::Logout, at: at(1) })
        .fold_into_all(&pool)
        .await;
    assert_eq!(user_of(&pool, session).await, None);
    let mut connection = pool.acquire().await.unwrap();
    assert!(sessions::open_of_user(&mut connection, user).await.unwrap().is_empty());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_session_of_an_inactive_or_deleted_user_returns_no_user(pool: PgPool) {
    let (user, session, log) = login();
    let log = log.with(ACME, user, UserFact::UserDeactivated { at: at(1) });
    log.fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, session).await, None);

    let log = log.with(ACME, user, UserFact::UserActivated { at: at(2) });
    log.fold_into_all(&pool).await;
    assert!(user_of(&pool, session).await.is_some());

    log.with(ACME, user, UserFact::UserDeleted { at: at(3) }).fold_into_all(&pool).await;
    assert_eq!(user_of(&pool, session).await, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_session_is_open_until_its_newest_refresh_token_expires(pool: PgPool) {
    let (user, session, log) = login();
    let expiring = |refresh_expires_at| IssuedTokens { refresh_expires_at, ..tokens("second") };
    let mut connection = pool.acquire().await.unwrap();
    // The query compares with the clock of the database.
    let century = TimeDelta::days(36_525);
    let future = SessionFact::SessionRefreshed { tokens: expiring(at(1) + century), at: at(1) };
    let log = log.with(ACME, session, future);
    log.fold_into_all(&pool).await;
    assert_eq!(sessions::open_of_user(&mut connection, user).await.unwrap(), [session]);

    let past = SessionFact::SessionRefreshed { tokens: expiring(at(2) - century), at: at(2) };
    log.with(ACME, session, past).fold_into_all(&pool).await;
    assert_eq!(sessions::open_of_user(&mut connection, user).await.unwrap(), []);
}
