//! Every code of the domain and the API has words.

use aggregates::Facts;
use aggregates::attempt_outcome::Outcome;
use aggregates::role::{Role, UserStatus};
use aggregates::webhook_event::WebhookEventFact;
use hooksentry::api::problem::Kind;
use hooksentry_dashboard::words;
use projections::bulk_actions::BulkActionState;
use projections::destinations::DestinationStatus;
use projections::webhook_events::EventStatus;

#[test]
fn every_code_has_words() {
    for outcome in Outcome::ALL {
        let words = words::outcome(outcome.name()).unwrap_or_else(|| panic!("no words for {outcome}"));
        assert_eq!(words.is_success, outcome.is_success(), "{outcome}");
        assert_eq!(words.is_success, words.advice.is_empty(), "{outcome}");
    }
    for status in EventStatus::ALL {
        assert!(words::event_status(status.name()).is_some(), "{status}");
    }
    for status in DestinationStatus::ALL {
        assert!(words::destination_status(status.name()).is_some(), "{status}");
    }
    for role in Role::ALL {
        assert!(words::role(role.name()).is_some(), "{role}");
    }
    for status in UserStatus::ALL {
        assert!(words::user_status(status.name()).is_some(), "{status:?}");
    }
    for state in BulkActionState::ALL {
        assert!(words::bulk_action_state(state.name()).is_some(), "{state}");
    }
    for kind in Kind::ALL {
        assert!(words::problem(kind.name()).is_some(), "{}", kind.name());
    }
    for fact in WebhookEventFact::NAMES {
        assert!(words::fact(fact).is_some(), "{fact}");
    }
}
