//! Senders: registration, mapping, ingest token and deletion.

use aggregates::sender::{Sender, SenderCommand as Command, SenderFact as Fact, SenderRefusal as Refusal};

use crate::given::{ACME, SHOP, given, moment, token};

fn register() -> Command {
    Command::Register {
        tenant_id: ACME,
        destination_id: SHOP,
        label: Some("GitHub".to_owned()),
        ingest_token_hash: token("first"),
        at: moment(0),
    }
}

fn registered() -> Fact {
    Fact::SenderRegistered {
        tenant_id: ACME,
        destination_id: SHOP,
        label: Some("GitHub".to_owned()),
        ingest_token_hash: token("first"),
        at: moment(0),
    }
}

fn set_mapping() -> Command {
    Command::SetMapping { mapping: r#"{"id":"user:id"}"#.to_owned(), at: moment(1) }
}

fn mapping_set() -> Fact {
    Fact::MappingSet { mapping: r#"{"id":"user:id"}"#.to_owned(), at: moment(1) }
}

fn replace_mapping() -> Command {
    Command::ReplaceMapping { mapping: r#"{"id":"user:id"}"#.to_owned(), at: moment(2) }
}

fn remove_mapping() -> Command {
    Command::RemoveMapping { at: moment(2) }
}

fn mapping_removed() -> Fact {
    Fact::MappingRemoved { at: moment(2) }
}

fn regenerate() -> Command {
    Command::RegenerateIngestToken { ingest_token_hash: token("second"), at: moment(3) }
}

fn regenerated() -> Fact {
    Fact::SenderIngestTokenRegenerated { ingest_token_hash: token("second"), at: moment(3) }
}

fn delete() -> Command {
    Command::Delete { at: moment(4) }
}

fn deleted() -> Fact {
    Fact::SenderDeleted { at: moment(4) }
}

#[test]
fn a_sender_is_registered_without_a_mapping() {
    let sender = given::<Sender>([]).when(register()).then([registered()]);
    assert_eq!(*sender.state(), Sender::Registered { has_mapping: false });
}

#[test]
fn a_sender_is_not_registered_twice_even_after_deletion() {
    given::<Sender>([registered()]).when(register()).then_refused(Refusal::AlreadyRegistered);
    given::<Sender>([registered(), deleted()]).when(register()).then_refused(Refusal::AlreadyRegistered);
}

#[test]
fn a_mapping_has_to_be_removed_before_another_is_set() {
    given::<Sender>([registered()]).when(set_mapping()).then([mapping_set()]);
    given::<Sender>([registered(), mapping_set()]).when(set_mapping()).then_refused(Refusal::MappingIsSet);
    given::<Sender>([registered(), mapping_set()])
        .when(remove_mapping())
        .then([mapping_removed()])
        .when(set_mapping())
        .then([mapping_set()]);
}

#[test]
fn a_mapping_is_replaced_at_once_and_also_if_there_is_none() {
    let set = Fact::MappingSet { mapping: r#"{"id":"user:id"}"#.to_owned(), at: moment(2) };
    given::<Sender>([registered()]).when(replace_mapping()).then([set.clone()]);
    given::<Sender>([registered(), mapping_set()])
        .when(replace_mapping())
        .then([mapping_removed(), set.clone()])
        .when(replace_mapping())
        .then([mapping_removed(), set]);
}

#[test]
fn removing_an_absent_mapping_is_ignored() {
    given::<Sender>([registered()]).when(remove_mapping()).then_nothing();
    given::<Sender>([registered(), mapping_set(), mapping_removed()]).when(remove_mapping()).then_nothing();
}

#[test]
fn the_ingest_token_can_be_replaced_repeatedly_and_the_mapping_stays() {
    given::<Sender>([registered(), mapping_set()])
        .when(regenerate())
        .then([regenerated()])
        .when(regenerate())
        .then([regenerated()])
        .when(set_mapping())
        .then_refused(Refusal::MappingIsSet);
}

#[test]
fn a_sender_is_deleted_with_or_without_a_mapping() {
    given::<Sender>([registered()]).when(delete()).then([deleted()]);
    given::<Sender>([registered(), mapping_set()]).when(delete()).then([deleted()]);
}

#[test]
fn an_unknown_or_deleted_sender_refuses_every_other_command() {
    for command in [set_mapping(), replace_mapping(), remove_mapping(), regenerate(), delete()] {
        given::<Sender>([]).when(command.clone()).then_refused(Refusal::NotRegistered);
        given::<Sender>([registered(), deleted()]).when(command).then_refused(Refusal::NotRegistered);
    }
}
