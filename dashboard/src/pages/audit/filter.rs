//! Filter of the audit trail, as the URL has it.

use crate::api::audit::TrailQuery;
use crate::web::query::{Parameters, url};

/// Filter of the audit trail.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter(pub(super) TrailQuery);

impl Filter {
    pub(super) fn of(parameters: &Parameters) -> Self {
        let of = |name: &str| parameters.get(name).map(str::to_owned);
        Self(TrailQuery {
            facts: of("facts"),
            subject: of("subject"),
            actor: of("actor"),
            fact_type: of("type"),
            from: of("from"),
            to: of("to"),
            after: of("after"),
        })
    }

    /// Returns whether everything is shown.
    pub(super) fn is_empty(&self) -> bool {
        self.parameters().iter().all(|(_, value)| value.is_none())
    }

    /// Returns the URL of the page at this cursor, or of the latest one.
    pub(super) fn page(&self, after: Option<&str>) -> String {
        let mut parameters = self.parameters().to_vec();
        parameters.push(("after", after));
        url("/audit", &parameters)
    }

    /// Returns the URL of an export of all that matches.
    pub(super) fn export(&self, format: &str) -> String {
        let mut parameters = self.parameters().to_vec();
        parameters.push(("format", Some(format)));
        url("/audit/export", &parameters)
    }

    pub(super) fn has_all(&self) -> bool {
        self.0.facts.is_some()
    }

    pub(super) fn has_type(&self, name: &str) -> bool {
        self.0.fact_type.as_deref() == Some(name)
    }

    pub(super) fn has_actor(&self, actor: &str) -> bool {
        self.0.actor.as_deref() == Some(actor)
    }

    fn parameters(&self) -> [(&'static str, Option<&str>); 6] {
        let TrailQuery { facts, subject, actor, fact_type, from, to, after: _ } = &self.0;
        [
            ("facts", facts.as_deref()),
            ("subject", subject.as_deref()),
            ("actor", actor.as_deref()),
            ("type", fact_type.as_deref()),
            ("from", from.as_deref()),
            ("to", to.as_deref()),
        ]
    }
}
