//! Sessions: each refresh token is valid once, and its reuse closes the session.

use aggregates::session::{
    Closing, IssuedTokens, Session, SessionCommand as Command, SessionFact as Fact, SessionRefusal as Refusal,
};
use uuid::Uuid;

use crate::given::{ACME, ALICE, given, moment, token};

const WEEK: i64 = 7 * 24 * 60 * 60;

/// Tokens issued at a second, named after their refresh token.
fn tokens(name: &str, issued_at: i64) -> IssuedTokens {
    IssuedTokens {
        refresh_token_hash: token(name),
        refresh_expires_at: moment(issued_at + WEEK),
        access_token_id: Uuid::from_u128(0xacce55),
        access_expires_at: moment(issued_at + 900),
    }
}

fn open() -> Command {
    Command::Open {
        tenant_id: ACME,
        user_id: ALICE,
        credentials_version: 3,
        token_family_hash: token("family"),
        tokens: tokens("first", 0),
        at: moment(0),
    }
}

fn logged_in() -> Fact {
    Fact::LoggedIn {
        tenant_id: ACME,
        user_id: ALICE,
        credentials_version: 3,
        token_family_hash: token("family"),
        tokens: tokens("first", 0),
        at: moment(0),
    }
}

fn refresh(presented: &str, next: &str, at: i64) -> Command {
    Command::Refresh { presented: token(presented), tokens: tokens(next, at), at: moment(at) }
}

fn refreshed(next: &str, at: i64) -> Fact {
    Fact::SessionRefreshed { tokens: tokens(next, at), at: moment(at) }
}

fn close(closing: Closing) -> Command {
    Command::Close { closing, at: moment(50) }
}

fn closed(closing: Closing, at: i64) -> Fact {
    Fact::LoggedOut { closing, at: moment(at) }
}

#[test]
fn a_login_opens_a_session() {
    given::<Session>([]).when(open()).then([logged_in()]);
}

#[test]
fn a_session_is_not_opened_twice_even_after_closing() {
    given::<Session>([logged_in()]).when(open()).then_refused(Refusal::AlreadyOpen);
    given::<Session>([logged_in(), closed(Closing::Logout, 50)])
        .when(open())
        .then_refused(Refusal::AlreadyOpen);
}

#[test]
fn the_newest_refresh_token_is_exchanged_for_the_next() {
    given::<Session>([logged_in()])
        .when(refresh("first", "second", 10))
        .then([refreshed("second", 10)])
        .when(refresh("second", "third", 20))
        .then([refreshed("third", 20)]);
}

#[test]
fn a_reused_refresh_token_closes_the_session() {
    given::<Session>([logged_in(), refreshed("second", 10)])
        .when(refresh("first", "thief", 20))
        .then([closed(Closing::RefreshTokenReused, 20)])
        .when(refresh("second", "third", 30))
        .then_refused(Refusal::HasEnded);
}

#[test]
fn reuse_of_any_older_token_is_detected() {
    given::<Session>([logged_in(), refreshed("second", 10), refreshed("third", 20)])
        .when(refresh("first", "thief", WEEK + 5))
        .then([closed(Closing::RefreshTokenReused, WEEK + 5)]);
}

#[test]
fn a_refresh_token_is_refused_from_its_expiry() {
    given::<Session>([logged_in()])
        .when(refresh("first", "second", WEEK - 1))
        .then([refreshed("second", WEEK - 1)]);
    given::<Session>([logged_in()]).when(refresh("first", "second", WEEK)).then_refused(Refusal::HasEnded);
}

#[test]
fn every_refresh_token_has_its_own_expiry() {
    given::<Session>([logged_in(), refreshed("second", 10)])
        .when(refresh("second", "third", WEEK + 9))
        .then([refreshed("third", WEEK + 9)]);
}

#[test]
fn a_session_is_closed_for_any_reason_and_stays_closed() {
    for closing in [Closing::Logout, Closing::RefreshTokenReused, Closing::UserChanged] {
        given::<Session>([logged_in()])
            .when(close(closing))
            .then([closed(closing, 50)])
            .when(close(Closing::Logout))
            .then_nothing()
            .when(refresh("first", "second", 60))
            .then_refused(Refusal::HasEnded);
    }
}

#[test]
fn closing_an_unknown_session_is_ignored_and_refreshing_it_refused() {
    given::<Session>([]).when(close(Closing::UserChanged)).then_nothing();
    given::<Session>([]).when(refresh("first", "second", 10)).then_refused(Refusal::HasEnded);
}
