//! Writing of a bundle from the database, one tile of facts at a time.

mod page;
mod plan;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

use aggregates::ids::TenantId;
use evidence::leaf::{EvidenceKey, LeafError};
use evidence::tree::{TILE_WIDTH, TileId};
use projections::TenantScope;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;
use uuid::Uuid;

use super::archive::{ArchiveWriter, Spool};
use super::format::{Base64Salt, FORMAT, LogPart, Manifest, Member, Selection};
use crate::clock;
use crate::evidence_log::{self, ReadFailure, Tree, TreeOwner};
use crate::secrets::vault::{Vault, VaultFailure};
use plan::Part;

const README: &str = include_str!("../README.txt");
const SCRIPT: &str = include_str!("../verify.py");

/// Where facts are exported from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) pool: PgPool,
    /// Without statement timeout, for one look-up along the log.
    pub(crate) connection: PgConnection,
    pub(crate) vault: Vault,
    pub(crate) tenant: TenantId,
}

/// Reason why no bundle was written.
#[derive(Debug, Error)]
pub(crate) enum ExportFailure {
    #[error("the tenant {tenant} has no {what} {id}")]
    Unknown { tenant: TenantId, what: &'static str, id: Uuid },
    #[error("no facts of the tenant {0} were recorded in that time")]
    NoFacts(TenantId),
    #[error(
        "no signed checkpoint covers these facts yet: the role sealer needs a key, the cosignatures of witnesses if it has \
         HOOKSENTRY_WITNESS_POLICY, and some time"
    )]
    Unsealed,
    #[error("the key of the tenant {0} was deleted, so the entries of its log cannot be computed")]
    ErasedKey(TenantId),
    #[error("the evidence key of the tenant cannot be used")]
    Key(#[source] VaultFailure),
    #[error("the log cannot be read: `hooksentry audit verify --database` says where it was altered")]
    Read(#[from] ReadFailure),
    #[error("database error")]
    Database(#[from] sqlx::Error),
    #[error("the bundle cannot be written")]
    Write(#[from] io::Error),
    #[error("a fact is not of the form of its type")]
    Fact(#[from] serde_json::Error),
    #[error("a fact cannot have a leaf")]
    Leaf(#[from] LeafError),
}

/// What a bundle has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exported {
    pub(crate) entries: u64,
    pub(crate) payloads: u64,
    /// Facts that are left out, because no signed checkpoint covers them.
    pub(crate) unsealed_facts: u64,
}

/// Writes a bundle into a new file.
///
/// # Errors
/// See [`ExportFailure`]. Nothing is written then.
pub(crate) async fn export(
    mut source: Source,
    selection: Selection,
    policy: Option<&[u8]>,
    output: &Path,
) -> Result<Exported, ExportFailure> {
    let plan = plan::plan(&mut source, selection).await?;
    let made_at = clock::now();
    let time = u64::try_from(made_at.timestamp()).unwrap_or_default();
    let mut writer = ArchiveWriter::create(output, time)?;
    writer.put(Member::Readme, README.as_bytes())?;
    writer.put(Member::Script, SCRIPT.as_bytes())?;
    if let Some(policy) = policy {
        writer.put(Member::Policy, policy)?;
    }
    let facts = writer.spool()?;
    let unsealed_facts = plan.unsealed_facts;
    let mut export = Export {
        exported: Exported { unsealed_facts, ..Exported::default() },
        source: &source,
        selection,
        writer,
        facts,
    };
    let mut logs = Vec::with_capacity(plan.parts.len());
    for part in &plan.parts {
        logs.push(export.log(part).await?);
    }
    let Export { mut writer, facts, exported, .. } = export;
    writer.put_spooled(Member::Facts, facts)?;
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        made_by: concat!("hooksentry ", env!("CARGO_PKG_VERSION")).to_owned(),
        made_at,
        tenant: source.tenant.0,
        selection,
        logs,
        lines: exported.entries,
        unsealed_facts,
    };
    writer.put(Member::Manifest, &serde_json::to_vec_pretty(&manifest)?)?;
    writer.finish()?;
    Ok(exported)
}

struct Export<'e> {
    source: &'e Source,
    selection: Selection,
    writer: ArchiveWriter,
    facts: Spool,
    exported: Exported,
}

impl Export<'_> {
    /// Writes a part of a log: its checkpoint, the wanted facts with their payloads, and the tiles that prove them.
    async fn log(&mut self, part: &Part) -> Result<LogPart, ExportFailure> {
        let log = part.tree.log_id();
        let key = self.key(&part.tree).await?;
        self.writer.put(Member::Checkpoint(log), part.checkpoint.note.as_bytes())?;
        let proof = self.installation_proof(part).await?;
        self.writer.put(Member::Installation(log), proof.as_bytes())?;
        if let Some(stamped) = &part.stamped {
            self.writer.put(Member::Stamped(log), stamped.note.as_bytes())?;
            self.writer.put(Member::TimeStamp(log), &stamped.answer)?;
        }
        let size = part.checkpoint.size;
        let mut above = BTreeSet::new();
        for tile in part.wanted.tiles() {
            let mut scope = TenantScope::begin(&self.source.pool, self.source.tenant).await?;
            let wanted = self.wanted_entries(&mut scope, part, tile).await?;
            if !wanted.is_empty() {
                if let Some(id) = TileId::in_tree(0, tile, size).filter(|id| id.is_full()) {
                    self.put_tile(&mut scope, &part.tree, id).await?;
                    above.insert(tile / TILE_WIDTH as u64);
                }
                self.page(&mut scope, part, &key, wanted).await?;
            }
            scope.end().await?;
        }
        self.tiles_above(part, above).await?;
        Ok(LogPart {
            id: log,
            indexes: part.wanted.range().map(|range| (range.start, range.end - 1)),
            checkpoint_salt: Base64Salt(key.checkpoint_salt(size)),
        })
    }

    async fn key(&self, tree: &Tree) -> Result<EvidenceKey, ExportFailure> {
        let tenant = self.source.tenant;
        let erased = ExportFailure::ErasedKey(tenant);
        let TreeOwner::Tenant { data_key, .. } = tree.owner() else { return Err(erased) };
        match self.source.vault.evidence_key(tenant, Some(data_key)).await {
            Ok((_, key)) => Ok(key),
            Err(VaultFailure::UnknownDataKey { .. }) => Err(erased),
            Err(failure) => Err(ExportFailure::Key(failure)),
        }
    }

    /// Returns the proof that the log of the installation, which belongs to no tenant, has a checkpoint.
    async fn installation_proof(&self, part: &Part) -> Result<String, ExportFailure> {
        let (log, index) = part.checkpoint.installation.ok_or(ExportFailure::Unsealed)?;
        let mut connection = self.source.pool.acquire().await?;
        let proof = match &part.stamped {
            None => evidence_log::prove_published(&mut connection, log, index).await?,
            Some(stamped) => {
                let tree = evidence_log::tree(&mut connection, log).await?.ok_or(ExportFailure::Unsealed)?;
                evidence_log::prove_in(&mut connection, &tree, &stamped.checkpoint, index).await?
            }
        };
        Ok(proof.ok_or(ExportFailure::Unsealed)?.to_string())
    }

    /// Writes the full tiles above those of level 0, and the partial tiles of the right edge, from which the root
    /// follows.
    async fn tiles_above(&mut self, part: &Part, mut indexes: BTreeSet<u64>) -> Result<(), ExportFailure> {
        let size = part.checkpoint.size;
        let mut scope = TenantScope::begin(&self.source.pool, self.source.tenant).await?;
        let mut level = 1;
        while !indexes.is_empty() {
            for index in std::mem::take(&mut indexes) {
                if let Some(id) = TileId::in_tree(level, index, size).filter(|id| id.is_full()) {
                    self.put_tile(&mut scope, &part.tree, id).await?;
                    indexes.insert(index / TILE_WIDTH as u64);
                }
            }
            level += 1;
        }
        for id in TileId::partial_in_tree(size) {
            self.put_tile(&mut scope, &part.tree, id).await?;
        }
        Ok(scope.end().await?)
    }

    async fn put_tile(
        &mut self,
        scope: &mut TenantScope,
        tree: &Tree,
        id: TileId,
    ) -> Result<(), ExportFailure> {
        let bytes = evidence_log::tile(scope.connection(), tree, id).await?.ok_or(ExportFailure::Unsealed)?;
        Ok(self.writer.put(Member::Tile(tree.log_id(), id), &bytes)?)
    }
}

/// Salts of payloads that were written, by event, and whether the received bytes were as well.
type WrittenPayloads = HashMap<Uuid, (Base64Salt, bool)>;
