//! Ingest routes: what an ingest token resolves to.
//!
//! The append that accepts a webhook event judges its route by one row, so a route holds all that
//! matters: it is folded from two streams, its owner's and its destination's. The row of a destination's
//! own token carries the destination's stage to the rows of its senders.

use std::collections::{BTreeSet, HashMap};

use aggregates::destination::{DestinationFact, Stage};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, SenderId, TenantId};
use aggregates::sealed::TokenHash;
use aggregates::sender::SenderFact;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::{stage, stage_number};
use crate::fold::{ApplyFailure, SequenceGap, sequence_of};
use crate::logged_fact::LoggedFact;
use crate::projection::ReadModel;

/// What a living ingest token resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// The sender whose token it is; `None`: the destination's own.
    pub sender_id: Option<SenderId>,
    /// The sender's mapping as JSON text, keys in the order given.
    pub mapping: Option<String>,
    /// Whether the destination receives, and if not, why.
    pub stage: Stage,
    /// Changes with the route: what was read is still so if it is unchanged.
    pub version: i64,
}

#[derive(Clone)]
struct Row {
    owner_id: Uuid,
    token_hash: Option<String>,
    tenant_id: Uuid,
    destination_id: Uuid,
    sender_id: Option<Uuid>,
    mapping: Option<String>,
    stage: i16,
    version: i64,
    owner_sequence: i64,
    destination_sequence: i64,
}

/// The stage a fact brings its destination to, if it does.
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

/// The rows of a batch while it is folded.
struct Routes {
    rows: HashMap<Uuid, Row>,
    changed: BTreeSet<Uuid>,
}

impl Routes {
    fn fold_destination(&mut self, logged: &LoggedFact, fact: &DestinationFact) -> Result<(), SequenceGap> {
        let sequence = sequence_of(logged);
        let stage = stage_after(fact).map(stage_number);
        match (self.rows.get_mut(&logged.stream_id), fact) {
            (None, DestinationFact::DestinationRegistered { tenant_id, ingest_token_hash, .. })
                if sequence == 1 =>
            {
                let row = Row {
                    owner_id: logged.stream_id,
                    token_hash: Some(ingest_token_hash.0.clone()),
                    tenant_id: tenant_id.0,
                    destination_id: logged.stream_id,
                    sender_id: None,
                    mapping: None,
                    stage: stage_number(Stage::Active),
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
            self.carry_to_senders(logged, stage);
        }
        Ok(())
    }

    /// Brings the living routes of the destination's senders to its stage.
    fn carry_to_senders(&mut self, logged: &LoggedFact, stage: i16) {
        let sequence = sequence_of(logged);
        let behind = |row: &&mut Row| {
            row.sender_id.is_some()
                && row.destination_id == logged.stream_id
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
            // A sender is registered with a destination that exists: its row is here before.
            let Some(destination) = self.rows.get(&destination_id.0).filter(|_| sequence == 1) else {
                return Err(SequenceGap::of(logged, None));
            };
            let row = Row {
                owner_id: logged.stream_id,
                token_hash: Some(ingest_token_hash.0.clone()),
                tenant_id: tenant_id.0,
                destination_id: destination_id.0,
                sender_id: Some(logged.stream_id),
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

/// The read model of this file.
#[derive(Debug)]
pub(crate) struct IngestRoutes;

impl ReadModel for IngestRoutes {
    const NAME: &'static str = "ingest_routes";
    const AGGREGATES: &'static [&'static str] = &["Destination", "Sender"];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        apply(connection, facts).await
    }
}

async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let mut owners = BTreeSet::new();
    let mut staged = BTreeSet::new();
    for logged in facts {
        match &logged.fact {
            Fact::Destination(fact) => {
                owners.insert(logged.stream_id);
                if stage_after(fact).is_some() {
                    staged.insert(logged.stream_id);
                }
            }
            Fact::Sender(fact) => {
                owners.insert(logged.stream_id);
                if let SenderFact::SenderRegistered { destination_id, .. } = fact {
                    owners.insert(destination_id.0);
                }
            }
            _ => {}
        }
    }
    if owners.is_empty() {
        return Ok(());
    }
    let owners: Vec<Uuid> = owners.into_iter().collect();
    let staged: Vec<Uuid> = staged.into_iter().collect();
    let rows = load(connection, &owners, &staged).await?;
    let mut routes =
        Routes { rows: rows.into_iter().map(|row| (row.owner_id, row)).collect(), changed: BTreeSet::new() };
    for logged in facts {
        match &logged.fact {
            Fact::Destination(fact) => routes.fold_destination(logged, fact)?,
            Fact::Sender(fact) => routes.fold_sender(logged, fact)?,
            _ => {}
        }
    }
    let changed: Vec<&Row> = routes.changed.iter().filter_map(|id| routes.rows.get(id)).collect();
    Ok(store(connection, &changed).await?)
}

/// The routes of `owners`, and the living ones of all senders of the destinations in `staged`.
#[tracing::instrument(name = "db.ingest_routes.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(
    connection: &mut PgConnection,
    owners: &[Uuid],
    staged: &[Uuid],
) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            owner_id, token_hash, tenant_id, destination_id, sender_id, mapping, stage, version,
            owner_sequence, destination_sequence
        FROM ingest_routes
        WHERE owner_id = ANY($1)
           OR (destination_id = ANY($2) AND token_hash IS NOT NULL)
        "#,
        owners,
        staged,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.ingest_routes.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[&Row]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        INSERT INTO ingest_routes (
            owner_id, token_hash, tenant_id, destination_id, sender_id, mapping, stage, version,
            owner_sequence, destination_sequence
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::smallint[],
            $8::bigint[], $9::bigint[], $10::bigint[]
        )
        ON CONFLICT (owner_id) DO UPDATE SET
            token_hash = excluded.token_hash,
            mapping = excluded.mapping,
            stage = excluded.stage,
            version = excluded.version,
            owner_sequence = excluded.owner_sequence,
            destination_sequence = excluded.destination_sequence
        WHERE ingest_routes.owner_sequence <= excluded.owner_sequence
          AND ingest_routes.destination_sequence <= excluded.destination_sequence
        "#,
        &rows.iter().map(|row| row.owner_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.token_hash.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.destination_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.sender_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|row| row.mapping.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|row| row.stage).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.owner_sequence).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.destination_sequence).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the ingest token of this hash resolves to; nothing once the token is dead.
#[tracing::instrument(name = "db.ingest_routes.by_token", level = "debug", skip_all, err(level = "debug"))]
pub async fn by_token(connection: &mut PgConnection, hash: &TokenHash) -> Result<Option<Route>, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        SELECT tenant_id, destination_id, sender_id, mapping, stage, version
        FROM ingest_routes
        WHERE token_hash = $1
        "#,
        hash.0,
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            Ok(Route {
                tenant_id: row.tenant_id.into(),
                destination_id: row.destination_id.into(),
                sender_id: row.sender_id.map(SenderId),
                mapping: row.mapping,
                stage: stage("stage", row.stage)?,
                version: row.version,
            })
        })
        .transpose()
}
