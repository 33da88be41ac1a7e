//! Trees that grow: the right edge of each in its row, full tiles in rows of their own.

use aggregates::ids::TenantId;
use evidence::tree::{Hash, Tile, TileId, TileSet, TreeBuilder, TreeHead};
use projections::{BigInt, LogPosition};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use super::positions::{self, DamagedPositions};

/// The Merkle tree of a transparency log.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    log_id: Uuid,
    owner: TreeOwner,
    era: i16,
    continues: Option<Uuid>,
    sealed_size: u64,
    builder: TreeBuilder,
    /// Positions of the facts in the partial tile of level 0.
    positions: Vec<LogPosition>,
    /// Tiles that are full and not written yet.
    full: Vec<FullTile>,
}

/// Whose entries a log has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TreeOwner {
    Installation {
        era: i16,
    },
    /// `data_key` is the key of the tenant from which the salts follow.
    Tenant {
        id: Uuid,
        data_key: Uuid,
    },
}

impl TreeOwner {
    /// `None`: the installation.
    pub(crate) fn tenant_id(self) -> Option<Uuid> {
        match self {
            Self::Installation { .. } => None,
            Self::Tenant { id, .. } => Some(id),
        }
    }
}

/// A full tile.
#[derive(Clone, Debug)]
pub(super) struct FullTile {
    pub(super) tile: Tile,
    /// Positions of its facts; empty above level 0 and for the installation.
    pub(super) positions: Vec<LogPosition>,
}

/// A row that does not describe a tree.
#[derive(Clone, Copy, Debug, Error)]
#[error("the stored tree of the log {0} is damaged")]
struct DamagedTree(Uuid);

impl Tree {
    /// Returns a tree without entries. Its log has a random id.
    pub(crate) fn new(log_id: Uuid, owner: TreeOwner, era: i16) -> Self {
        Self {
            log_id,
            owner,
            era,
            continues: None,
            sealed_size: 0,
            builder: TreeBuilder::new(),
            positions: vec![],
            full: vec![],
        }
    }

    /// Returns the tree that continues `ended`: its first entry, whose leaf has `hash`, names the head of the other.
    pub(crate) fn continuing(ended: &Self, log_id: Uuid, owner: TreeOwner, era: i16, hash: Hash) -> Self {
        let mut tree = Self { continues: Some(ended.log_id), ..Self::new(log_id, owner, era) };
        tree.append(hash, None);
        tree
    }

    pub(crate) fn log_id(&self) -> Uuid {
        self.log_id
    }

    pub(crate) fn owner(&self) -> TreeOwner {
        self.owner
    }

    /// Number of entries.
    pub(crate) fn size(&self) -> u64 {
        self.builder.size()
    }

    /// Number of entries that no signed checkpoint covers.
    pub(crate) fn unsigned_entries(&self) -> u64 {
        self.size() - self.sealed_size
    }

    pub(crate) fn head(&self) -> TreeHead {
        self.builder.head()
    }

    /// Appends the leaf of an entry: of the fact at `position`, or of an entry that is no fact.
    pub(crate) fn append(&mut self, hash: Hash, position: Option<LogPosition>) {
        self.positions.extend(position);
        for tile in self.builder.append([hash]) {
            let positions = if tile.id().level() == 0 { std::mem::take(&mut self.positions) } else { vec![] };
            self.full.push(FullTile { tile, positions });
        }
    }

    /// Returns the tiles that became full since the last call.
    pub(super) fn take_full(&mut self) -> Vec<FullTile> {
        std::mem::take(&mut self.full)
    }

    /// The log that this one continues.
    pub(super) fn continues(&self) -> Option<Uuid> {
        self.continues
    }

    /// Positions of the facts in the partial tile of level 0.
    pub(super) fn positions(&self) -> &[LogPosition] {
        &self.positions
    }

    pub(super) fn partial_tiles(&self) -> Vec<Tile> {
        self.builder.partial_tiles()
    }

    fn edge(&self) -> Vec<u8> {
        self.builder.partial_tiles().iter().flat_map(Tile::to_bytes).collect()
    }
}

struct Row {
    log_id: Uuid,
    tenant_id: Option<Uuid>,
    era: i16,
    continues: Option<Uuid>,
    data_key: Option<Uuid>,
    size: BigInt,
    edge: Vec<u8>,
    positions: Vec<u8>,
    sealed_size: BigInt,
}

impl TryFrom<Row> for Tree {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let damaged = || sqlx::Error::Decode(Box::new(DamagedTree(row.log_id)));
        let owner = match (row.tenant_id, row.data_key) {
            (None, _) => TreeOwner::Installation { era: row.era },
            (Some(id), Some(data_key)) => TreeOwner::Tenant { id, data_key },
            (Some(_), None) => return Err(damaged()),
        };
        let mut tiles = TileSet::new();
        let mut edge = row.edge.as_slice();
        for id in TileId::partial_in_tree(row.size.0) {
            let (bytes, rest) = edge.split_at_checked(id.width() * Hash::BYTES).ok_or_else(damaged)?;
            tiles.insert(Tile::from_bytes(id, bytes).map_err(|_| damaged())?);
            edge = rest;
        }
        let builder = TreeBuilder::resume(row.size.0, &tiles).map_err(|_| damaged())?;
        let positions = positions::decode(&row.positions).map_err(|DamagedPositions| damaged())?;
        Ok(Self {
            log_id: row.log_id,
            owner,
            era: row.era,
            continues: row.continues,
            sealed_size: row.sealed_size.0,
            builder,
            positions,
            full: vec![],
        })
    }
}

/// Selects trees with a query that the compiler checks.
macro_rules! trees {
    ($connection:expr, $from:literal, $($arguments:tt)*) => {{
        let rows = sqlx::query_as!(
            Row,
            r#"SELECT
                log_id, tenant_id, era, continues, data_key, size AS "size: _", edge, positions,
                sealed_size AS "sealed_size: _"
            FROM evidence_trees "# + $from,
            $($arguments)*
        )
        .fetch_all($connection)
        .await?;
        rows.into_iter().map(Tree::try_from).collect::<Result<Vec<_>, _>>()
    }};
}

/// Returns the trees of some tenants in an era. A tenant without facts has none.
///
/// # Errors
/// When the database fails, or a row is damaged.
#[tracing::instrument(name = "db.evidence_trees.of_tenants", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn trees_of_tenants(
    connection: &mut PgConnection,
    tenants: &[Uuid],
    era: i16,
) -> Result<Vec<Tree>, sqlx::Error> {
    trees!(connection, "WHERE tenant_id = ANY($1) AND era = $2", tenants, era)
}

/// Returns the trees of a tenant, oldest first: one for each era.
///
/// # Errors
/// When the database fails, or a row is damaged.
#[tracing::instrument(name = "db.evidence_trees.of_tenant", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn trees_of_tenant(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<Vec<Tree>, sqlx::Error> {
    trees!(connection, "WHERE tenant_id = $1 ORDER BY era", tenant.0)
}

/// Returns the tree of a log.
///
/// # Errors
/// When the database fails, or the row is damaged.
#[tracing::instrument(name = "db.evidence_trees.get", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn tree(connection: &mut PgConnection, log_id: Uuid) -> Result<Option<Tree>, sqlx::Error> {
    Ok(trees!(connection, "WHERE log_id = $1", log_id)?.pop())
}

/// Returns the tree of the installation in the latest era that has one.
///
/// # Errors
/// When the database fails, or the row is damaged.
#[tracing::instrument(
    name = "db.evidence_trees.latest_of_installation",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn latest_installation_tree(
    connection: &mut PgConnection,
) -> Result<Option<Tree>, sqlx::Error> {
    Ok(trees!(connection, "WHERE tenant_id IS NULL ORDER BY era DESC LIMIT 1",)?.pop())
}

/// Returns the tree of the installation in an era.
///
/// # Errors
/// When the database fails, or the row is damaged.
#[tracing::instrument(
    name = "db.evidence_trees.of_installation",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn installation_tree(
    connection: &mut PgConnection,
    era: i16,
) -> Result<Option<Tree>, sqlx::Error> {
    Ok(trees!(connection, "WHERE tenant_id IS NULL AND era = $1", era)?.pop())
}

/// Returns trees of tenants that have more entries than their last signed checkpoint, in the order of their log ids after
/// `after`.
///
/// # Errors
/// When the database fails, or a row is damaged.
#[tracing::instrument(name = "db.evidence_trees.unsigned", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn unsigned_trees(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Tree>, sqlx::Error> {
    trees!(
        connection,
        "WHERE size > sealed_size AND tenant_id IS NOT NULL AND log_id > $1 ORDER BY log_id LIMIT $2",
        after,
        limit
    )
}

/// Returns how many trees of tenants have more entries than their last signed checkpoint.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.evidence_trees.count_unsigned",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn count_unsigned(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let BigInt(count) = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!: BigInt" FROM evidence_trees WHERE size > sealed_size AND tenant_id IS NOT NULL
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(count)
}

/// Returns trees of eras before `era` that no other tree continues.
///
/// # Errors
/// When the database fails, or a row is damaged.
#[tracing::instrument(name = "db.evidence_trees.ended", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn ended_trees(
    connection: &mut PgConnection,
    era: i16,
    limit: i64,
) -> Result<Vec<Tree>, sqlx::Error> {
    trees!(
        connection,
        "WHERE era < $1
           AND NOT EXISTS (SELECT FROM evidence_trees AS later WHERE later.continues = evidence_trees.log_id)
         LIMIT $2",
        era,
        limit
    )
}

/// Writes the right edges of trees, some of which may be new.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_trees.write", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn write_trees(connection: &mut PgConnection, trees: &[&Tree]) -> Result<(), sqlx::Error> {
    let data_key = |tree: &&Tree| match tree.owner {
        TreeOwner::Installation { .. } => None,
        TreeOwner::Tenant { data_key, .. } => Some(data_key),
    };
    let positions = |tree: &&Tree| positions::encode(&tree.positions);
    sqlx::query!(
        r#"
        INSERT INTO evidence_trees (log_id, tenant_id, era, continues, data_key, size, edge, positions)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::uuid[], $6::bigint[], $7::bytea[], $8::bytea[]
        )
        ON CONFLICT (log_id) DO UPDATE SET
            size = excluded.size,
            edge = excluded.edge,
            positions = excluded.positions
        "#,
        &trees.iter().map(|tree| tree.log_id).collect::<Vec<_>>(),
        &trees.iter().map(|tree| tree.owner.tenant_id()).collect::<Vec<_>>() as &[Option<Uuid>],
        &trees.iter().map(|tree| tree.era).collect::<Vec<_>>(),
        &trees.iter().map(|tree| tree.continues).collect::<Vec<_>>() as &[Option<Uuid>],
        &trees.iter().map(data_key).collect::<Vec<_>>() as &[Option<Uuid>],
        &trees.iter().map(|tree| BigInt(tree.size())).collect::<Vec<_>>() as &[BigInt],
        &trees.iter().map(|tree| tree.edge()).collect::<Vec<_>>(),
        &trees.iter().map(positions).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
