//! How the API shows facts of the audit trail.

use projections::fact_origins::{FactOrigin, KnownOrigin};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::http::time::Timestamp;
use crate::audit_trail::{Change, Entry};

/// A fact of the audit trail.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
pub(crate) struct EntryView {
    /// Position behind this fact, for the parameter `After` with the same filters and order.
    pub(super) cursor: String,
    /// Time at which the fact was recorded.
    pub(super) time: Timestamp,
    /// `null` if none is recorded.
    pub(super) actor: Option<ActorView>,
    /// Type of the fact, such as `RoleChanged`.
    #[serde(rename = "type")]
    pub(super) fact_type: String,
    /// What the fact says, in words.
    #[schema(examples("The role of a user was changed."))]
    pub(super) action: &'static str,
    pub(super) subject: SubjectView,
    /// Name of the fact in the transparency log: kind and id of its stream, and its number there.
    #[schema(examples("User/0190c2de-6b1c-7000-8000-000000000001/2"))]
    pub(super) fact: String,
    /// Request that wrote the fact.
    pub(super) request_id: Option<String>,
    /// W3C trace id of that request.
    pub(super) trace_id: Option<String>,
    /// From where the fact was caused. `null` if no client caused it through the management API.
    pub(super) origin: Option<OriginView>,
    /// Settings that the fact changed. Those that must stay secret are not among them, and texts of more than 4,096
    /// characters are cut.
    pub(super) changes: Vec<ChangeView>,
    /// Other fields of the fact, which depend on its type.
    pub(super) details: Map<String, Value>,
}

/// Who caused a fact.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditActor)]
pub(crate) struct ActorView {
    /// `user`, `api-key`, `portal-link`, `role` (a part of the service), `operator` (of the installation) or `anonymous`.
    #[schema(examples("user"))]
    pub(super) kind: String,
    /// Id of the user or API key, or name of the role.
    pub(super) id: Option<String>,
    /// Email address of the user, or name of the API key. `null` if there is none, or no longer.
    pub(super) name: Option<String>,
}

/// From where a fact was caused.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditOrigin)]
pub(crate) struct OriginView {
    /// Address of the client. `null` if it was erased.
    #[schema(examples("192.0.2.7"))]
    pub(super) address: Option<String>,
    /// `User-Agent` of the request. `null` if it sent none, or it was erased.
    pub(super) user_agent: Option<String>,
    /// Whether it was erased, as personal data of the user.
    pub(super) is_erased: bool,
}

/// What a fact is about.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditSubject)]
pub(crate) struct SubjectView {
    #[schema(examples("User"))]
    pub(super) kind: String,
    pub(super) id: String,
}

/// Setting that a fact changed.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditChange)]
pub(crate) struct ChangeView {
    #[schema(examples("role"))]
    pub(super) setting: &'static str,
    /// `null` if it had none.
    pub(super) before: Value,
    /// `null` if it has none any more.
    pub(super) after: Value,
}

impl EntryView {
    pub(super) fn of(entry: Entry, cursor: String) -> Self {
        let action = entry.words();
        let actor = entry.actor.map(|actor| {
            let (kind, id) = match actor.split_once(':') {
                Some((kind, id)) => (kind.to_owned(), Some(id.to_owned())),
                None => (actor, None),
            };
            ActorView { kind, id, name: entry.actor_name }
        });
        Self {
            cursor,
            time: entry.recorded_at.into(),
            actor,
            fact_type: entry.name,
            action,
            fact: format!("{}/{}/{}", entry.aggregate, entry.stream_id, entry.version),
            subject: SubjectView { kind: entry.subject_kind, id: entry.subject_id },
            request_id: entry.request_id,
            trace_id: entry.trace_id,
            origin: entry.origin.map(OriginView::from),
            changes: entry.changes.into_iter().map(ChangeView::from).collect(),
            details: entry.details,
        }
    }
}

impl From<FactOrigin> for OriginView {
    fn from(origin: FactOrigin) -> Self {
        match origin {
            FactOrigin::Known(KnownOrigin { client, .. }) => Self {
                address: Some(client.address.to_string()),
                user_agent: client.user_agent,
                is_erased: false,
            },
            FactOrigin::Erased => Self { address: None, user_agent: None, is_erased: true },
        }
    }
}

impl From<Change> for ChangeView {
    fn from(Change { setting, before, after }: Change) -> Self {
        Self { setting, before, after }
    }
}
