//! Conversion of facts in older stored forms, for the loads that go through `cqrs-es`.

use aggregates::Facts;
use aggregates::upcasting::{self, StoredVersion};
use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::Value;
use std::marker::PhantomData;

/// Converts stored facts of `F` to their current form.
pub(super) struct Upcaster<F>(PhantomData<fn() -> F>);

impl<F> Default for Upcaster<F> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<F: Facts> Upcaster<F> {
    fn compare(event_type: &str, event_version: &str) -> StoredVersion {
        upcasting::compare_version(event_type, event_version, F::version_of(event_type))
    }
}

impl<F: Facts> EventUpcaster for Upcaster<F> {
    fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
        Self::compare(event_type, event_version) != StoredVersion::Current
    }

    fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
        match Self::compare(&event.event_type, &event.event_version) {
            StoredVersion::Current => {}
            StoredVersion::Older(version) => {
                upcasting::upcast(&event.event_type, version, &mut event.payload);
                event.event_version = F::stored_version(&event.event_type);
            }
            // This method cannot fail. A fact of a newer version might parse but lose its meaning; null does not
            // parse, so the load fails.
            StoredVersion::Unknown => event.payload = Value::Null,
        }
        event
    }
}
