//! Invites: valid once, until they expire, for a role that the inviting user may give.

use aggregates::ids::UserId;
use aggregates::invite::{
    Invite, InviteCommand as Command, InviteFact as Fact, InviteRefusal as Refusal, Inviter,
};
use aggregates::role::Role;

use crate::given::{ACME, ALICE, BOB, given, moment, sealed, token};

const EXPIRY: i64 = 100;

fn issue(invited_by: Role, target_role: Role) -> Command {
    Command::Issue {
        tenant_id: ACME,
        target_role,
        issued_by: ALICE,
        invited_by,
        token_hash: token("invite"),
        token: sealed("invite"),
        expires_at: moment(EXPIRY),
        at: moment(0),
    }
}

fn issued(target_role: Role) -> Fact {
    Fact::InviteIssued {
        tenant_id: ACME,
        target_role,
        issued_by: Some(ALICE),
        token_hash: token("invite"),
        token: sealed("invite"),
        expires_at: moment(EXPIRY),
        at: moment(0),
    }
}

fn accept(user_id: UserId, at: i64) -> Command {
    Command::Accept { user_id, inviter: inviter(Role::Owner), at: moment(at) }
}

fn inviter(role: Role) -> Option<Inviter> {
    Some(Inviter { role, deactivated_at: None })
}

fn revoke() -> Command {
    Command::Revoke { at: moment(2) }
}

fn revoked() -> Fact {
    Fact::InviteRevoked { at: moment(2) }
}

fn accepted(at: i64) -> Fact {
    Fact::InviteAccepted { user_id: BOB, at: moment(at) }
}

#[test]
fn an_owner_invites_every_role_except_owner() {
    for target_role in [Role::Viewer, Role::Developer, Role::Admin] {
        given::<Invite>([]).when(issue(Role::Owner, target_role)).then([issued(target_role)]);
    }
    given::<Invite>([]).when(issue(Role::Owner, Role::Owner)).then_refused(Refusal::OwnerCannotBeInvited);
}

#[test]
fn an_admin_invites_neither_admins_nor_owners() {
    for target_role in [Role::Viewer, Role::Developer] {
        given::<Invite>([]).when(issue(Role::Admin, target_role)).then([issued(target_role)]);
    }
    given::<Invite>([]).when(issue(Role::Admin, Role::Admin)).then_refused(Refusal::AdminNeedsOwner);
    given::<Invite>([]).when(issue(Role::Admin, Role::Owner)).then_refused(Refusal::OwnerCannotBeInvited);
}

#[test]
fn an_invite_is_not_issued_twice_even_after_use() {
    given::<Invite>([issued(Role::Viewer)])
        .when(issue(Role::Owner, Role::Viewer))
        .then_refused(Refusal::AlreadyIssued);
    given::<Invite>([issued(Role::Viewer), accepted(1)])
        .when(issue(Role::Owner, Role::Viewer))
        .then_refused(Refusal::AlreadyIssued);
}

#[test]
fn an_invite_can_be_used_until_it_expires() {
    given::<Invite>([issued(Role::Viewer)]).when(accept(BOB, EXPIRY - 1)).then([accepted(EXPIRY - 1)]);
    for at in [EXPIRY, EXPIRY + 1] {
        given::<Invite>([issued(Role::Viewer)]).when(accept(BOB, at)).then_refused(Refusal::HasExpired);
    }
}

#[test]
fn an_invite_is_used_once() {
    for user_id in [ALICE, BOB] {
        given::<Invite>([issued(Role::Viewer), accepted(1)])
            .when(accept(user_id, 2))
            .then_refused(Refusal::IsUsed);
    }
}

#[test]
fn a_used_invite_is_refused_as_used_even_after_expiry() {
    given::<Invite>([issued(Role::Viewer), accepted(1)])
        .when(accept(ALICE, EXPIRY + 1))
        .then_refused(Refusal::IsUsed);
}

#[test]
fn an_unknown_invite_cannot_be_used_or_revoked() {
    given::<Invite>([]).when(accept(BOB, 1)).then_refused(Refusal::NotIssued);
    given::<Invite>([]).when(revoke()).then_refused(Refusal::NotIssued);
}

#[test]
fn a_revoked_invite_is_refused_like_an_unknown_one() {
    given::<Invite>([issued(Role::Viewer)])
        .when(revoke())
        .then([revoked()])
        .when(accept(BOB, 3))
        .then_refused(Refusal::NotIssued);
    given::<Invite>([issued(Role::Viewer), revoked()]).when(revoke()).then_refused(Refusal::NotIssued);
    given::<Invite>([issued(Role::Viewer), accepted(1)]).when(revoke()).then_refused(Refusal::IsUsed);
}

#[test]
fn an_invite_is_worth_nothing_once_its_issuer_may_not_invite_any_more() {
    let accept = |inviter| Command::Accept { user_id: BOB, inviter, at: moment(1) };
    for (target_role, inviter) in [
        (Role::Viewer, None),
        (Role::Viewer, inviter(Role::Developer)),
        (Role::Developer, inviter(Role::Viewer)),
        (Role::Admin, inviter(Role::Admin)),
    ] {
        given::<Invite>([issued(target_role)]).when(accept(inviter)).then_refused(Refusal::NotIssued);
    }
    given::<Invite>([issued(Role::Viewer)]).when(accept(inviter(Role::Admin))).then([accepted(1)]);
}

#[test]
fn an_invite_stays_worthless_when_its_issuer_is_activated_again() {
    let accept = |deactivated_at| {
        let inviter = Some(Inviter { role: Role::Owner, deactivated_at: Some(moment(deactivated_at)) });
        Command::Accept { user_id: BOB, inviter, at: moment(5) }
    };
    for deactivated_at in [0, 4] {
        given::<Invite>([issued(Role::Viewer)]).when(accept(deactivated_at)).then_refused(Refusal::NotIssued);
    }
    // A deactivation before the invite was issued does not concern it.
    given::<Invite>([issued(Role::Viewer)]).when(accept(-1)).then([accepted(5)]);
}

#[test]
fn an_invite_whose_issuer_is_not_known_can_be_used() {
    let mut issued = issued(Role::Viewer);
    if let Fact::InviteIssued { issued_by, .. } = &mut issued {
        *issued_by = None;
    }
    let accept = Command::Accept { user_id: BOB, inviter: None, at: moment(1) };
    given::<Invite>([issued]).when(accept).then([accepted(1)]);
}
