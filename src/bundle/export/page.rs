//! Facts of one tile, as they are exported.

use std::collections::{HashMap, HashSet};

use aggregates::ids::TenantId;
use chrono::SecondsFormat;
use evidence::leaf::EvidenceKey;
use evidence::tree::TILE_WIDTH;
use futures::TryStreamExt;
use projections::TenantScope;
use uuid::Uuid;

use super::plan::{Part, Wanted};
use super::{Export, ExportFailure, WrittenPayloads};
use crate::bundle::format::{
    Base64Salt, EndedLog, Line, Member, Selection, ShownFact, ShownPayload, ShownResponse,
};
use crate::evidence_log::contents::{self, Contents, KeptResponse};
use crate::evidence_log::{self, FactRow, LoggedEntry};

impl Export<'_> {
    /// Returns the wanted entries of a tile of level 0, with their indexes.
    pub(super) async fn wanted_entries(
        &self,
        scope: &mut TenantScope,
        part: &Part,
        tile: u64,
    ) -> Result<Vec<(u64, LoggedEntry)>, ExportFailure> {
        let entries = evidence_log::logged_entries(scope.connection(), &part.tree, tile).await?;
        let indexed = (tile * TILE_WIDTH as u64..).zip(entries);
        let wanted: Vec<_> = indexed.filter(|(index, _)| part.wanted.contains(*index)).collect();
        let Wanted::Of(destination, _) = part.wanted else { return Ok(wanted) };
        let events: Vec<String> = wanted
            .iter()
            .filter_map(|(_, entry)| fact_of(entry))
            .filter(|fact| fact.aggregate_type == "WebhookEvent")
            .map(|fact| fact.aggregate_id.clone())
            .collect();
        let tenant = scope.tenant_id();
        let accepted = evidence_log::accepted_for(scope.connection(), tenant, destination, &events).await?;
        let accepted: HashSet<String> = accepted.into_iter().collect();
        let id = destination.to_string();
        let concerns = |fact: &FactRow| match fact.aggregate_type.as_str() {
            "WebhookEvent" => accepted.contains(&fact.aggregate_id),
            "Destination" => fact.aggregate_id == id,
            _ => false,
        };
        Ok(wanted.into_iter().filter(|(_, entry)| fact_of(entry).is_some_and(concerns)).collect())
    }

    /// Writes entries of one tile: payloads as members, and a line for each entry.
    pub(super) async fn page(
        &mut self,
        scope: &mut TenantScope,
        part: &Part,
        key: &EvidenceKey,
        entries: Vec<(u64, LoggedEntry)>,
    ) -> Result<(), ExportFailure> {
        let mut events = vec![];
        let mut attempts = vec![];
        let tenant = scope.tenant_id();
        for fact in entries.iter().filter_map(|(_, entry)| fact_of(entry)) {
            let Ok(event) = fact.aggregate_id.parse::<Uuid>() else { continue };
            match contents::of_fact(&fact.event_type, &fact.payload)? {
                Some(Contents::Payload { .. }) => events.push((tenant, event)),
                Some(Contents::Response { attempt, .. }) => {
                    attempts.extend(i32::try_from(attempt).map(|attempt| (tenant, event, attempt)));
                }
                Some(Contents::Email { .. }) | None => {}
            }
        }
        let mut payloads = self.payloads(scope, &events).await?;
        let mut responses = kept_responses(scope, &attempts).await?;
        for (index, entry) in entries {
            let line = line_of(part, key, index, entry, &mut payloads, &mut responses)?;
            self.facts.write_line(&serde_json::to_vec(&line)?)?;
            self.exported.entries += 1;
            if matches!(self.selection, Selection::Event(_)) {
                let connection = scope.connection();
                let proof = evidence_log::prove_in(connection, &part.tree, &part.checkpoint, index).await?;
                let proof = proof.ok_or(ExportFailure::Unsealed)?.to_string();
                self.writer.put(Member::Proof(line.log, index), proof.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes the payloads of events that are still stored.
    async fn payloads(
        &mut self,
        scope: &mut TenantScope,
        events: &[(TenantId, Uuid)],
    ) -> Result<WrittenPayloads, ExportFailure> {
        let mut written = WrittenPayloads::new();
        if events.is_empty() {
            return Ok(written);
        }
        let mut stored = contents::payloads(scope.connection(), events);
        while let Some(payload) = stored.try_next().await? {
            // Without salt there is no commitment that it could be compared with.
            let salt = payload.salt.as_deref().and_then(Base64Salt::stored);
            let Some(salt) = salt else { continue };
            self.writer.put(Member::Delivered(payload.event_id), &payload.delivered)?;
            if let Some(received) = &payload.received {
                self.writer.put(Member::Received(payload.event_id), received)?;
            }
            written.insert(payload.event_id, (salt, payload.received.is_some()));
            self.exported.payloads += 1;
        }
        Ok(written)
    }
}

fn fact_of(entry: &LoggedEntry) -> Option<&FactRow> {
    match entry {
        LoggedEntry::Fact(fact) => Some(fact),
        LoggedEntry::Continuation { .. } => None,
    }
}

type KeptResponses = HashMap<(Uuid, u32), KeptResponse>;

async fn kept_responses(
    scope: &mut TenantScope,
    attempts: &[(TenantId, Uuid, i32)],
) -> Result<KeptResponses, ExportFailure> {
    if attempts.is_empty() {
        return Ok(KeptResponses::new());
    }
    let kept = contents::responses(scope.connection(), attempts).await?;
    Ok(kept.into_iter().map(|kept| ((kept.event_id, kept.attempt.unsigned_abs()), kept)).collect())
}

fn line_of(
    part: &Part,
    key: &EvidenceKey,
    index: u64,
    entry: LoggedEntry,
    payloads: &mut WrittenPayloads,
    responses: &mut KeptResponses,
) -> Result<Line, ExportFailure> {
    let line = Line { log: part.tree.log_id(), index, fact: None, continues: None };
    let fact = match entry {
        LoggedEntry::Continuation { log_id, tree } => {
            let ended = EndedLog { log: log_id, size: tree.size, root: tree.root.to_string() };
            return Ok(Line { continues: Some(ended), ..line });
        }
        LoggedEntry::Fact(fact) => *fact,
    };
    let contents = contents::of_fact(&fact.event_type, &fact.payload)?;
    let event = fact.aggregate_id.parse::<Uuid>().unwrap_or_default();
    let payload =
        matches!(contents, Some(Contents::Payload { .. })).then(|| payloads.remove(&event)).flatten();
    let response = match contents {
        Some(Contents::Response { attempt, .. }) => responses.remove(&(event, attempt)),
        _ => None,
    };
    let shown = ShownFact {
        stream: format!("{}/{}", fact.aggregate_type, fact.aggregate_id),
        sequence: fact.sequence.0,
        salt: Base64Salt(fact.salt(key)?),
        fact_type: fact.event_type,
        version: fact.event_version,
        recorded: fact.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
        metadata: fact.metadata,
        text: fact.payload,
        payload: payload.map(|(salt, received)| ShownPayload { salt, received }),
        response: response.and_then(|kept| {
            Base64Salt::stored(&kept.salt).map(|salt| ShownResponse { salt, text: kept.response })
        }),
    };
    Ok(Line { fact: Some(shown), ..line })
}
