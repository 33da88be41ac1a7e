//! Ingest routes: what an ingest token resolves to.
//!
//! The statement that accepts a webhook event checks its route with one row, so a route has everything that
//! matters for that: it is folded from two streams, its owner's and its destination's. The row of a
//! destination's own token passes the destination's stage on to the rows of its senders.

use std::collections::{BTreeSet, HashMap};

use aggregates::destination::{DestinationFact, Stage};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, SenderId, TenantId};
use aggregates::sealed::TokenHash;
use aggregates::sender::SenderFact;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::Stored;
use crate::fold::{AggregateFact, ApplyFailure, SequenceGap, sequence_of};
use crate::logged_fact::LoggedFact;
use crate::projection::ReadModel;
use crate::read_model::{self, table_row};

/// What a valid ingest token resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// The sender whose token it is; `None`: it is the destination's own token.
    pub sender_id: Option<SenderId>,
    /// The sender's mapping as JSON text, keys in the order given.
    pub mapping: Option<String>,
    /// Stage of the destination.
    pub stage: Stage,
    /// Changes whenever the route changes. A route that was read before is current while this is unchanged.
    pub version: i64,
}

table_row! {
    table "ingest_routes", replaced if "ingest_routes.owner_sequence <= excluded.owner_sequence \
        AND ingest_routes.destination_sequence <= excluded.destination_sequence";
    struct Row {
        owner_id: Uuid,
        token_hash: Option<String>,
        tenant_id: TenantId,
        destination_id: DestinationId,
        sender_id: Option<SenderId>,
        mapping: Option<String>,
        stage: Stage,
        version: i64,
        owner_sequence: i64,
        destination_sequence: i64,
    }
}

/// Returns the stage that a destination enters with a fact, if any.
fn stage_after(fact: &DestinationFact) -> Option<Stage> {
    use DestinationFact as Fact;
    match fact {
        Fact::DestinationRegistered { .. }
        | Fact::DestinationActivated { .. }
        | Fact::DestinationResumed { .. } => Some(Stage::Active),
        Fact::DestinationDeactivated { .. } => Some(Stage::Inactive),
        Fact::DestinationSuspended { .. } => Some(Stage::Suspended),
        Fact::DestinationProbed { .. } => Some(Stage::Probing),
        Fact::DestinationUrlChanged { .. }
        | Fact::ConcurrencyLimitChanged { .. }
        | Fact::OutboundAuthConfigured { .. }
        | Fact::OutboundAuthRemoved { .. }
        | Fact::IngestTokenRegenerated { .. } => None,
    }
}

/// Rows of a batch while it is folded, by owner.
struct Routes {
    rows: HashMap<Uuid, Row>,
    changed: BTreeSet<Uuid>,
}

impl Routes {
    fn fold_destination(&mut self, logged: &LoggedFact, fact: &DestinationFact) -> Result<(), SequenceGap> {
        let sequence = sequence_of(logged);
        let stage = stage_after(fact);
        match (self.rows.get_mut(&logged.stream_id), fact) {
            (None, DestinationFact::DestinationRegistered { tenant_id, ingest_token_hash, .. })
                if sequence == 1 =>
            {
                let row = Row {
                    owner_id: logged.stream_id,
                    token_hash: Some(ingest_token_hash.0.clone()),
                    tenant_id: *tenant_id,
                    destination_id: logged.stream_id.into(),
                    sender_id: None,
                    mapping: None,
                    stage: Stage::Active,
                    version: logged.position.position,
                    owner_sequence: sequence,
                    destination_sequence: sequence,
                };
                self.rows.insert(logged.stream_id, row);
            }
            (None, _) => return Err(SequenceGap::of(logged, None)),
            (Some(row), _) if sequence <= row.owner_sequence => {}
            (Some(row), _) if sequence != row.owner_sequence + 1 => {
                return Err(SequenceGap::of(logged, Some(row.owner_sequence)));
            }
            (Some(row), fact) => {
                row.owner_sequence = sequence;
                row.destination_sequence = sequence;
                if let DestinationFact::IngestTokenRegenerated { ingest_token_hash, .. } = fact {
                    row.token_hash = Some(ingest_token_hash.0.clone());
                    row.version = logged.position.position;
                }
                if let Some(stage) = stage {
                    row.stage = stage;
                    row.version = logged.position.position;
                }
            }
        }
        self.changed.insert(logged.stream_id);
        if let Some(stage) = stage {
            self.pass_on_to_senders(logged, stage);
        }
        Ok(())
    }

    /// Sets the stage of the valid routes of the destination's senders.
    fn pass_on_to_senders(&mut self, logged: &LoggedFact, stage: Stage) {
        let sequence = sequence_of(logged);
        let behind = |row: &&mut Row| {
            row.sender_id.is_some()
                && row.destination_id.0 == logged.stream_id
                && row.token_hash.is_some()
                && row.destination_sequence < sequence
        };
        for row in self.rows.values_mut().filter(behind) {
            row.stage = stage;
            row.version = logged.position.position;
            row.destination_sequence = sequence;
            self.changed.insert(row.owner_id);
        }
    }

    fn fold_sender(&mut self, logged: &LoggedFact, fact: &SenderFact) -> Result<(), SequenceGap> {
        let sequence = sequence_of(logged);
        if let Some(row) = self.rows.get_mut(&logged.stream_id) {
            if sequence <= row.owner_sequence {
                return Ok(());
            }
            if sequence != row.owner_sequence + 1 {
                return Err(SequenceGap::of(logged, Some(row.owner_sequence)));
            }
            match fact {
                SenderFact::SenderRegistered { .. } => {}
                SenderFact::SenderIngestTokenRegenerated { ingest_token_hash, .. } => {
                    row.token_hash = Some(ingest_token_hash.0.clone());
                }
                SenderFact::MappingSet { mapping, .. } => row.mapping = Some(mapping.clone()),
                SenderFact::MappingRemoved { .. } => row.mapping = None,
                SenderFact::SenderDeleted { .. } => row.token_hash = None,
            }
            row.owner_sequence = sequence;
            row.version = logged.position.position;
        } else {
            let SenderFact::SenderRegistered { tenant_id, destination_id, ingest_token_hash, .. } = fact
            else {
                return Err(SequenceGap::of(logged, None));
            };
            // A sender is registered with an existing destination, whose row was loaded or folded before.
            let Some(destination) = self.rows.get(&destination_id.0).filter(|_| sequence == 1) else {
                return Err(SequenceGap::of(logged, None));
            };
            let row = Row {
                owner_id: logged.stream_id,
                token_hash: Some(ingest_token_hash.0.clone()),
                tenant_id: *tenant_id,
                destination_id: *destination_id,
                sender_id: Some(logged.stream_id.into()),
                mapping: None,
                stage: destination.stage,
                version: logged.position.position,
                owner_sequence: sequence,
                destination_sequence: destination.owner_sequence,
            };
            self.rows.insert(logged.stream_id, row);
        }
        self.changed.insert(logged.stream_id);
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct IngestRoutes;

impl ReadModel for IngestRoutes {
    const NAME: &'static str = "ingest_routes";
    const AGGREGATES: &'static [&'static str] = &[DestinationFact::AGGREGATE, SenderFact::AGGREGATE];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        let Needed { owners, staged } = Needed::by(facts);
        if owners.is_empty() {
            return Ok(());
        }
        let rows = load(connection, &owners, &staged).await?;
        let mut routes = Routes {
            rows: rows.into_iter().map(|row| (row.owner_id, row)).collect(),
            changed: BTreeSet::new(),
        };
        for logged in facts {
            match &logged.fact {
                Fact::Destination(fact) => routes.fold_destination(logged, fact)?,
                Fact::Sender(fact) => routes.fold_sender(logged, fact)?,
                _ => {}
            }
        }
        let changed: Vec<Row> =
            routes.changed.iter().filter_map(|owner| routes.rows.get(owner)).cloned().collect();
        Ok(read_model::store(connection, &changed).await?)
    }
}

/// What a batch needs to be loaded.
#[derive(Default)]
struct Needed {
    /// Destinations and senders whose rows may change, and destinations of new senders.
    owners: BTreeSet<Uuid>,
    /// Destinations whose stage may change.
    staged: BTreeSet<Uuid>,
}

impl Needed {
    fn by(facts: &[LoggedFact]) -> Self {
        let mut needed = Self::default();
        for logged in facts {
            match &logged.fact {
                Fact::Destination(fact) => {
                    needed.owners.insert(logged.stream_id);
                    if stage_after(fact).is_some() {
                        needed.staged.insert(logged.stream_id);
                    }
                }
                Fact::Sender(fact) => {
                    needed.owners.insert(logged.stream_id);
                    if let SenderFact::SenderRegistered { destination_id, .. } = fact {
                        needed.owners.insert(destination_id.0);
                    }
                }
                _ => {}
            }
        }
        needed
    }
}

/// Loads the routes of `owners`, and the valid ones of all senders of the destinations in `staged`.
#[tracing::instrument(name = "db.ingest_routes.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(
    connection: &mut PgConnection,
    owners: &BTreeSet<Uuid>,
    staged: &BTreeSet<Uuid>,
) -> Result<Vec<Row>, sqlx::Error> {
    let query = read_model::select::<Row>(
        "owner_id = ANY($1) OR (destination_id = ANY($2) AND token_hash IS NOT NULL)",
    );
    let ids = |ids: &BTreeSet<Uuid>| ids.iter().copied().collect::<Vec<_>>();
    sqlx::query_as(&query).bind(ids(owners)).bind(ids(staged)).fetch_all(connection).await
}

/// Returns what the ingest token of this hash resolves to; `None`: the token is not valid, even if its row does not
/// show that yet.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.ingest_routes.by_token", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_token(connection: &mut PgConnection, hash: &TokenHash) -> Result<Option<Route>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        SELECT tenant_id, destination_id, sender_id, mapping, stage AS "stage: Stored<Stage>", version
        FROM ingest_routes
        WHERE token_hash = $1
          AND owner_sequence >= coalesce((SELECT version FROM revocations WHERE stream_id = owner_id), 0)
        "#,
        hash.0,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(|row| Route {
        tenant_id: row.tenant_id.into(),
        destination_id: row.destination_id.into(),
        sender_id: row.sender_id.map(SenderId),
        mapping: row.mapping,
        stage: row.stage.into(),
        version: row.version,
    }))
}
