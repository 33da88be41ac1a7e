//! `GET /api/v1/events/{id}/proof`

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEvent;
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::leaf::EvidenceKey;
use projections::TenantScope;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::Page;
use crate::api::v1::audit::Audit;
use crate::evidence_log::{self, FactRow, ReadFailure, Tree};

/// A fact with all that is needed to verify it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FactProof {
    /// Version of the event's stream.
    version: u64,
    /// The stored text of the fact. Its bytes are what the entry commits to.
    #[schema(examples(r#"{"EventAccepted":{"tenantId":"..."}}"#))]
    fact: String,
    /// The stored text of what caused the fact.
    #[schema(examples(r#"{"tenantId":"...","actor":"role:worker"}"#))]
    metadata: String,
    /// Base64 of the secret with which the entry commits to both texts: a key of HMAC-SHA256.
    salt: String,
    /// Entry of the tenant's log.
    entry: String,
    /// Index of the entry, from 0; `null` until the fact is logged.
    #[schema(minimum = 0)]
    index: Option<u64>,
    /// Proof that the log has the entry: C2SP tlog-proof. `null` until a signed checkpoint covers it.
    proof: Option<String>,
}

/// Prove an event's facts
///
/// Returns every fact of an event with its proof, oldest first unless `TpOrd` says otherwise. A proof can be verified
/// without this service.
#[utoipa::path(get, path = "/api/v1/events/{id}/proof", tag = "Events",
    responses((status = 200, body = Page<FactProof>, description = "A page of the event's facts with their proofs."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(audit): State<Audit>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
    query: Query,
) -> Result<Json<Page<FactProof>>, Problem> {
    audit.events.find(&caller, id).await?;
    let (page, direction) = query.entries()?;
    let tenant = caller.tenant_id;
    let data_key = audit.trees(&caller).await?.pop();
    let key = match data_key {
        Some(tree) => audit.evidence_key(tenant, &tree).await?,
        // The sealer uses the same.
        None => audit.vault.evidence_key(tenant, None).await?.1,
    };
    let mut scope = TenantScope::begin(audit.pool(), tenant).await?;
    let trees = evidence_log::trees_of_tenant(scope.connection(), tenant).await?;
    let connection = scope.connection();
    let listed =
        evidence_log::facts_of_stream::<WebhookEvent>(connection, tenant, id.0, direction, page).await?;
    let mut items = Vec::with_capacity(listed.items.len());
    for fact in listed.items {
        items.push(FactProof::of(scope.connection(), &trees, &key, fact).await?);
    }
    scope.end().await?;
    Ok(Json(Page { total: listed.total, items }))
}

impl FactProof {
    async fn of(
        connection: &mut PgConnection,
        trees: &[Tree],
        key: &EvidenceKey,
        fact: FactRow,
    ) -> Result<Self, ReadFailure> {
        let found = evidence_log::find_fact(connection, trees, fact.log_position()).await?;
        let proof = match found {
            Some((tree, index)) => evidence_log::prove(connection, tree, index).await?,
            None => None,
        };
        let salt = fact.salt(key)?;
        Ok(Self {
            version: fact.sequence.0,
            salt: STANDARD.encode(salt.as_bytes()),
            entry: fact.entry(&salt)?,
            index: found.map(|(_, index)| index),
            proof: proof.map(|proof| proof.to_string()),
            fact: fact.payload,
            metadata: fact.metadata,
        })
    }
}
