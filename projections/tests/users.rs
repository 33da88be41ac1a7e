use aggregates::ids::{TenantId, UserId};
use aggregates::role::{Role, UserStatus};
use aggregates::user::UserFact;
use projections::paging::{Direction, Page};
use projections::users::{self, Filter, SortField};
use projections::{Projection, TenantScope, user_emails};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, at, email, hash, hmac_of, id, sealed, user_registered};

const ALL: Page = Page { limit: 100, offset: 0 };

fn user(number: u128) -> UserId {
    id(number)
}

async fn listed(pool: &PgPool, filter: Filter, sort: SortField, direction: Direction) -> Vec<UserId> {
    let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
    let listed = users::list(&mut scope, filter, sort, direction, ALL).await.unwrap();
    assert_eq!(usize::try_from(listed.total), Ok(listed.items.len()));
    listed.items.into_iter().map(|user| user.id).collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_user_has_the_state_after_its_facts(pool: PgPool) {
    Log::default()
        .with(ACME, user(1), user_registered("a@acme.example", Role::Developer))
        .with(
            ACME,
            user(1),
            UserFact::EmailChanged { email_hmac_sha256: hmac_of("b@acme.example"), at: at(1) },
        )
        .with(ACME, user(1), UserFact::RoleChanged { role: Role::Admin, at: at(2) })
        .with(ACME, user(1), UserFact::UserDeactivated { at: at(3) })
        .with(ACME, user(1), UserFact::LoginRefused { at: at(4) })
        .with(ACME, user(1), UserFact::SecondFactorBegun { secret: sealed("secret"), at: at(5) })
        .fold_into(&pool, Projection::Users)
        .await;

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let shown = users::get(&mut scope, user(1)).await.unwrap().unwrap();
    assert_eq!(shown.email, email("b@acme.example"));
    assert_eq!((shown.role, shown.status), (Role::Admin, UserStatus::Inactive));
    assert_eq!((shown.created_at, shown.updated_at), (at(0), at(3)));
    assert!(!shown.has_second_factor);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_second_factor_is_needed_from_the_fact_on_that_enables_it(pool: PgPool) {
    let begun = UserFact::SecondFactorBegun { secret: sealed("secret"), at: at(1) };
    let enabled = UserFact::SecondFactorEnabled { recovery_codes: vec![hash("code")], at: at(2) };
    let used = UserFact::RecoveryCodeUsed { recovery_code: hash("code"), at: at(3) };
    let disabled = UserFact::SecondFactorDisabled { at: at(4) };
    let log = Log::default()
        .with(ACME, user(1), user_registered("a@acme.example", Role::Owner))
        .with(ACME, user(1), begun)
        .with(ACME, user(1), enabled)
        .with(ACME, user(1), used);
    log.fold_into(&pool, Projection::Users).await;
    let mut connection = pool.acquire().await.unwrap();
    let login = users::by_email(&mut connection, &email("a@acme.example")).await.unwrap().unwrap();
    // Sessions that were opened with the password alone have ended.
    assert_eq!((login.has_second_factor, login.credentials_version), (true, 3));

    log.with(ACME, user(1), disabled).fold_into(&pool, Projection::Users).await;
    let login = users::by_email(&mut connection, &email("a@acme.example")).await.unwrap().unwrap();
    assert_eq!((login.has_second_factor, login.credentials_version), (false, 3));
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let shown = users::get(&mut scope, user(1)).await.unwrap().unwrap();
    assert_eq!((shown.has_second_factor, shown.updated_at), (false, at(4)));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_user_is_found_by_the_current_email_alone(pool: PgPool) {
    let changed = UserFact::EmailChanged { email_hmac_sha256: hmac_of("b@acme.example"), at: at(1) };
    Log::default()
        .with(ACME, user(1), user_registered("a@acme.example", Role::Viewer))
        .with(ACME, user(1), UserFact::PasswordChanged { at: at(1) })
        .with(ACME, user(1), changed)
        .fold_into(&pool, Projection::Users)
        .await;

    let mut connection = pool.acquire().await.unwrap();
    let login = users::by_email(&mut connection, &email("B@acme.example")).await.unwrap().unwrap();
    assert_eq!((login.id, login.tenant_id, login.role), (user(1), ACME, Role::Viewer));
    assert_eq!((login.password_hash.as_str(), login.credentials_version), ("hash", 2));
    assert_eq!(users::by_email(&mut connection, &email("a@acme.example")).await.unwrap(), None);

    for (version, expected) in
        [(1, Some("a@acme.example")), (2, Some("a@acme.example")), (3, Some("b@acme.example"))]
    {
        let as_of = user_emails::at(&mut connection, user(1), version).await.unwrap();
        assert_eq!(as_of, expected.map(email), "version {version}");
    }
    assert_eq!(user_emails::at(&mut connection, user(2), 9).await.unwrap(), None);
    let all = async |tenant| {
        let mut scope = TenantScope::begin(&pool, tenant).await.unwrap();
        let all = user_emails::of_user(&mut scope, user(1)).await.unwrap();
        all.into_iter().map(|row| (row.version, row.email)).collect::<Vec<_>>()
    };
    assert_eq!(all(ACME).await, [(1, email("a@acme.example")), (3, email("b@acme.example"))]);
    assert_eq!(all(RIVAL).await, []);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deleted_user_is_not_found(pool: PgPool) {
    Log::default()
        .with(ACME, user(1), user_registered("a@acme.example", Role::Viewer))
        .with(ACME, user(1), UserFact::UserDeleted { at: at(1) })
        .fold_into(&pool, Projection::Users)
        .await;

    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(users::owner_of(&mut connection, user(1)).await.unwrap(), None);
    assert_eq!(users::by_email(&mut connection, &email("a@acme.example")).await.unwrap(), None);
    assert!(listed(&pool, Filter::default(), SortField::Id, Direction::Ascending).await.is_empty());
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    assert_eq!(users::get(&mut scope, user(1)).await.unwrap(), None);
}

#[sqlx::test(migrations = "../migrations")]
async fn emails_can_move_between_users_within_a_batch(pool: PgPool) {
    let renamed = |address: &str| UserFact::EmailChanged { email_hmac_sha256: hmac_of(address), at: at(1) };
    Log::default()
        .with(ACME, user(1), user_registered("a@acme.example", Role::Viewer))
        .with(ACME, user(2), user_registered("b@acme.example", Role::Viewer))
        .fold_into(&pool, Projection::Users)
        .await;
    let log = Log::default()
        .with(ACME, user(1), user_registered("a@acme.example", Role::Viewer))
        .with(ACME, user(2), user_registered("b@acme.example", Role::Viewer))
        .with(ACME, user(1), renamed("c@acme.example"))
        .with(ACME, user(2), renamed("a@acme.example"))
        .with(ACME, user(1), renamed("b@acme.example"));
    log.fold_into(&pool, Projection::Users).await;

    let mut connection = pool.acquire().await.unwrap();
    let a = users::by_email(&mut connection, &email("a@acme.example")).await.unwrap().unwrap();
    let b = users::by_email(&mut connection, &email("b@acme.example")).await.unwrap().unwrap();
    assert_eq!((a.id, b.id), (user(2), user(1)));
}

#[sqlx::test(migrations = "../migrations")]
async fn users_are_filtered_sorted_and_paged(pool: PgPool) {
    let rival = |tenant_id: TenantId| UserFact::UserRegistered {
        tenant_id,
        email_hmac_sha256: hmac_of("x@rival.example"),
        role: Role::Owner,
        at: at(0),
    };
    Log::default()
        .with(ACME, user(1), user_registered("c@acme.example", Role::Owner))
        .with(ACME, user(2), user_registered("a@acme.example", Role::Viewer))
        .with(ACME, user(3), user_registered("b@acme.example", Role::Developer))
        .with(RIVAL, user(4), rival(RIVAL))
        .with(ACME, user(2), UserFact::UserDeactivated { at: at(5) })
        .fold_into(&pool, Projection::Users)
        .await;
    let of = |numbers: &[u128]| numbers.iter().copied().map(user).collect::<Vec<_>>();
    let everyone = Filter::default();

    assert_eq!(listed(&pool, everyone, SortField::Id, Direction::Ascending).await, of(&[1, 2, 3]));
    assert_eq!(listed(&pool, everyone, SortField::Id, Direction::Descending).await, of(&[3, 2, 1]));
    assert_eq!(listed(&pool, everyone, SortField::TenantId, Direction::Descending).await, of(&[3, 2, 1]));
    assert_eq!(listed(&pool, everyone, SortField::Email, Direction::Ascending).await, of(&[2, 3, 1]));
    assert_eq!(listed(&pool, everyone, SortField::Email, Direction::Descending).await, of(&[1, 3, 2]));
    // By number: Developer 0, Owner 10, Viewer 20.
    assert_eq!(listed(&pool, everyone, SortField::Role, Direction::Ascending).await, of(&[3, 1, 2]));
    assert_eq!(listed(&pool, everyone, SortField::Status, Direction::Descending).await, of(&[2, 3, 1]));
    assert_eq!(listed(&pool, everyone, SortField::CreatedAt, Direction::Ascending).await, of(&[1, 2, 3]));
    assert_eq!(listed(&pool, everyone, SortField::UpdatedAt, Direction::Ascending).await, of(&[1, 3, 2]));

    let active = Filter { status: Some(UserStatus::Active), ..everyone };
    assert_eq!(listed(&pool, active, SortField::Id, Direction::Ascending).await, of(&[1, 3]));
    let owners = Filter { role: Some(Role::Owner), ..everyone };
    assert_eq!(listed(&pool, owners, SortField::Id, Direction::Ascending).await, of(&[1]));

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let page = Page { limit: 1, offset: 1 };
    let listed =
        users::list(&mut scope, everyone, SortField::Email, Direction::Ascending, page).await.unwrap();
    assert_eq!(listed.total, 3);
    assert_eq!(listed.items.iter().map(|user| user.id).collect::<Vec<_>>(), of(&[3]));
    let beyond = Page { limit: 10, offset: 10 };
    let listed =
        users::list(&mut scope, everyone, SortField::Email, Direction::Ascending, beyond).await.unwrap();
    assert_eq!((listed.total, listed.items.len()), (3, 0));
}
