//! The steps from older stored forms to today's, for the loads that go through `cqrs-es`.

use aggregates::Facts;
use aggregates::upcasting::{self, Age};
use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::Value;
use std::marker::PhantomData;

/// Brings stored facts of `F` into today's form.
pub(super) struct Upcaster<F>(PhantomData<fn() -> F>);

impl<F> Default for Upcaster<F> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<F: Facts> Upcaster<F> {
    fn age(event_type: &str, event_version: &str) -> Age {
        upcasting::age(event_type, event_version, F::version_of(event_type))
    }
}

impl<F: Facts> EventUpcaster for Upcaster<F> {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        Self::age(event_type, event_version) != Age::Current
    }

    fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
        match Self::age(&event.event_type, &event.event_version) {
            Age::Current => {}
            Age::Outdated(version) => {
                upcasting::upcast(&event.event_type, version, &mut event.payload);
                event.event_version = F::stored_version(&event.event_type);
            }
            // The framework asks for no refusal here. What a newer program wrote might well parse, without
            // what it means; nothing does not, so the load fails.
            Age::Unknown => event.payload = Value::Null,
        }
        event
    }
}
