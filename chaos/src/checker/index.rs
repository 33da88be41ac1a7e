//! The history by event.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::history::{Fact, History, Request};

/// The history by event.
pub(super) struct Index<'a> {
    pub(super) history: &'a History,
    pub(super) events: BTreeMap<Uuid, EventRecord<'a>>,
    /// Index in [`History::sent`] by the SHA-256 of the payload, in lower-case hex.
    pub(super) sent_by_digest: HashMap<String, usize>,
}

/// What is known about one event.
#[derive(Default)]
pub(super) struct EventRecord<'a> {
    /// In log order.
    pub(super) facts: Vec<&'a Fact>,
    pub(super) lost_facts: Vec<&'a Fact>,
    /// In the order in which they began.
    pub(super) requests: Vec<&'a Request>,
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let mut events: BTreeMap<Uuid, EventRecord<'a>> = BTreeMap::new();
        for fact in history.facts.iter().filter(|fact| fact.is_of_event()) {
            if let Some(id) = fact.id() {
                events.entry(id).or_default().facts.push(fact);
            }
        }
        for fact in history.lost_facts.iter().filter(|fact| fact.is_of_event()) {
            if let Some(id) = fact.id() {
                events.entry(id).or_default().lost_facts.push(fact);
            }
        }
        for request in &history.requests {
            events.entry(request.event_id).or_default().requests.push(request);
        }
        for event in events.values_mut() {
            event.requests.sort_by_key(|request| request.began);
        }
        let sent = history.sent.iter().enumerate();
        let sent_by_digest =
            sent.map(|(number, sent)| (hex::encode(Sha256::digest(&sent.payload)), number)).collect();
        Self { history, events, sent_by_digest }
    }
}

impl<'a> EventRecord<'a> {
    /// Returns the fact of its acceptance; `None` if the event is not in the log.
    pub(super) fn acceptance(&self) -> Option<&'a Fact> {
        accepted_in(&self.facts)
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.acceptance().is_some()
    }

    /// Returns the facts of the log and those that were lost.
    pub(super) fn all_facts(&self) -> impl Iterator<Item = &'a Fact> + '_ {
        self.facts.iter().chain(&self.lost_facts).copied()
    }

    /// Returns the facts of this type about this attempt, including those that were lost.
    pub(super) fn of_attempt(
        &self,
        event_type: &'static str,
        attempt: u32,
    ) -> impl Iterator<Item = &'a Fact> + '_ {
        self.all_facts().filter(move |fact| fact.event_type == event_type && fact.attempt() == Some(attempt))
    }

    /// Returns whether a fact about this attempt was lost with a primary: then its number may be given again,
    /// while a request of the lost attempt is in flight.
    pub(super) fn lost_attempt(&self, attempt: u32) -> bool {
        self.lost_facts.iter().any(|fact| fact.attempt() == Some(attempt))
    }

    /// Returns the final status of the event by the log; `None` if it waits or an attempt is in progress.
    pub(super) fn final_status(&self) -> Option<&'static str> {
        let last = self.facts.iter().rev().find(|fact| fact.event_type != "PayloadErased")?;
        last.final_status()
    }
}

/// Returns the acceptance among these facts.
pub(super) fn accepted_in<'a>(facts: &[&'a Fact]) -> Option<&'a Fact> {
    facts.iter().copied().find(|fact| fact.event_type == "EventAccepted")
}
