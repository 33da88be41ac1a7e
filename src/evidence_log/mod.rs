//! Transparency logs: their trees, tiles, signed checkpoints, cosignatures and keys, as they are stored.
//!
//! Every tenant has a log whose entries are its facts in the order of the event log, and the installation has one whose
//! entries are the signed checkpoints of the others. [`crate::sealer`] alone writes them; the API reads them. All that
//! is computation is in the crate `evidence`.
//!
//! A leaf is made of the texts of a fact as the event log stores them, and of a salt that follows from a key of the
//! tenant. Neither is stored here: entries are computed from the event log when they are read. So the tables have 32
//! bytes of hash for each fact and a few bytes of position, by which the facts of a tile are found.

mod checkpoints;
pub(crate) mod contents;
mod cosignatures;
mod facts;
mod keys;
mod positions;
mod publication;
mod reading;
mod stored;
mod tiles;
mod timestamps;
mod trees;

use evidence::note::{KeyName, KeyNameError};
use uuid::Uuid;

pub(crate) use checkpoints::{
    NewCheckpoint, StoredCheckpoint, first_checkpoint, insert_checkpoints, last_signed_at,
};
pub(crate) use cosignatures::{NewCosignature, cosignatures, insert_cosignature, last_cosigned_size};
pub(crate) use facts::{
    FactPage, FactRow, accepted_for, count_after, facts_of_stream, name_of, part, parts, positions_between,
    read_settled,
};
pub(crate) use keys::{KeyNameChanged, RecordedKey, record_keys, recorded_keys};
pub(crate) use publication::{
    Cosigned, cosigned, last_provable_checkpoint, prove_published, publish, published_checkpoint,
    published_sizes, restrict_publication,
};
pub(crate) use reading::{
    LoggedEntry, ReadFailure, find_fact, last_checkpoint, logged_entries, prove, prove_consistency, prove_in,
    tile, tile_entries,
};
pub(crate) use stored::{
    LoggedCheckpoint, StoredTile, StoredTree, decode_positions, stored_checkpoints, stored_tiles,
    stored_trees,
};
pub(crate) use tiles::insert_tiles;
pub(crate) use timestamps::{
    Stamped, Unstamped, first_stamped, insert_timestamp, last_stamp_age, last_stamped_at,
    unstamped_checkpoint,
};
pub(crate) use trees::{
    Tree, TreeOwner, count_unsigned, ended_trees, installation_tree, latest_installation_tree, tree,
    trees_of_tenant, trees_of_tenants, unsigned_trees, write_trees,
};

/// Returns the name of a log, its *origin*, in an installation with this name. The log of the installation has the
/// installation's name, and after a restore that of the era as well.
///
/// # Errors
/// The name would be too long.
pub(crate) fn origin(
    installation: &KeyName,
    owner: TreeOwner,
    log_id: Uuid,
) -> Result<KeyName, KeyNameError> {
    match owner {
        TreeOwner::Installation { era: 0 } => Ok(installation.clone()),
        TreeOwner::Installation { era } => format!("{installation}/era/{era}").parse(),
        TreeOwner::Tenant { .. } => format!("{installation}/log/{log_id}").parse(),
    }
}
