use aggregates::ids::{InviteId, UserId};
use aggregates::invite::InviteFact;
use aggregates::role::Role;
use projections::invites::{self, Filter, InviteStatus, SortField};
use projections::paging::{Direction, Page};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{ACME, Log, at, hash, id, sealed};

const ALL: Page = Page { limit: 100, offset: 0 };

fn issued(token: &str, target_role: Role, days: i64) -> InviteFact {
    InviteFact::InviteIssued {
        tenant_id: ACME,
        target_role,
        issued_by: None,
        token_hash: hash(token),
        token: sealed(token),
        expires_at: at(days * 86_400),
        at: at(0),
    }
}

fn used() -> InviteFact {
    InviteFact::InviteAccepted { user_id: id::<UserId>(9), at: at(5) }
}

fn invite(number: u128) -> InviteId {
    id(number)
}

#[sqlx::test(migrations = "../migrations")]
async fn an_invite_is_found_by_its_token_even_if_it_is_used(pool: PgPool) {
    Log::default()
        .with(ACME, invite(1), issued("one", Role::Admin, 7))
        .with(ACME, invite(1), used())
        .fold_into(&pool, Projection::Invites)
        .await;
    let mut connection = pool.acquire().await.unwrap();
    let found = invites::by_token(&mut connection, &hash("one")).await.unwrap().unwrap();
    assert_eq!((found.id, found.tenant_id, found.target_role), (invite(1), ACME, Role::Admin));
    assert_eq!((found.expires_at, found.used_at), (at(7 * 86_400), Some(at(5))));
    assert_eq!(found.status(), InviteStatus::Used);
    assert_eq!(invites::by_token(&mut connection, &hash("two")).await.unwrap(), None);

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    assert_eq!(invites::get(&mut scope, invite(1)).await.unwrap().unwrap().token, sealed("one"));
}

#[sqlx::test(migrations = "../migrations")]
async fn invites_are_filtered_and_sorted(pool: PgPool) {
    Log::default()
        .with(ACME, invite(1), issued("b", Role::Viewer, 3))
        .with(ACME, invite(2), issued("c", Role::Developer, 1))
        .with(ACME, invite(3), issued("a", Role::Admin, 2))
        .with(ACME, invite(2), used())
        .fold_into(&pool, Projection::Invites)
        .await;
    let listed = async |status: Option<InviteStatus>, sort, direction| {
        let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
        let listed = invites::list(&mut scope, Filter { status }, sort, direction, ALL).await.unwrap();
        assert_eq!(usize::try_from(listed.total), Ok(listed.items.len()));
        listed.items.into_iter().map(|invite| invite.id.0.as_u128()).collect::<Vec<_>>()
    };
    use Direction::{Ascending, Descending};

    assert_eq!(listed(None, SortField::Id, Ascending).await, [1, 2, 3]);
    assert_eq!(listed(None, SortField::Id, Descending).await, [3, 2, 1]);
    assert_eq!(listed(None, SortField::Token, Ascending).await, [3, 1, 2]);
    assert_eq!(listed(None, SortField::TargetRole, Ascending).await, [2, 3, 1]);
    assert_eq!(listed(None, SortField::ExpiresAt, Descending).await, [1, 3, 2]);
    assert_eq!(listed(None, SortField::Status, Descending).await, [2, 3, 1]);
    assert_eq!(listed(None, SortField::UsedAt, Ascending).await, [2, 1, 3]);
    assert_eq!(listed(None, SortField::UsedAt, Descending).await, [3, 1, 2]);
    assert_eq!(listed(None, SortField::CreatedAt, Descending).await, [3, 2, 1]);
    assert_eq!(listed(None, SortField::TenantId, Ascending).await, [1, 2, 3]);
    assert_eq!(listed(Some(InviteStatus::Used), SortField::Id, Ascending).await, [2]);
    assert_eq!(listed(Some(InviteStatus::Pending), SortField::Id, Ascending).await, [1, 3]);
}
