//! Trees against the vectors of Certificate Transparency and against `ct-merkle`.

mod exhaustive;
mod paths;
mod tiles;
mod vectors;
mod wrong_proofs;

use evidence::tree::{Hash, ProofPlan, Tile, TileSet, TreeBuilder};

/// Entry that is different for each index.
pub(crate) fn entry(index: u64) -> [u8; 8] {
    index.to_be_bytes()
}

/// Tree together with all its tiles.
#[derive(Default)]
pub(crate) struct StoredTree {
    pub(crate) builder: TreeBuilder,
    full: Vec<Tile>,
}

impl StoredTree {
    pub(crate) fn of_entries(size: u64) -> Self {
        let mut tree = Self::default();
        tree.append((0..size).map(|index| Hash::of_leaf(&entry(index))));
        tree
    }

    pub(crate) fn append(&mut self, leaves: impl IntoIterator<Item = Hash>) {
        self.full.extend(self.builder.append(leaves));
    }

    pub(crate) fn tiles(&self) -> impl Iterator<Item = Tile> {
        self.full.iter().cloned().chain(self.builder.partial_tiles())
    }

    pub(crate) fn inclusion_proof(&self, index: u64) -> Vec<Hash> {
        self.prove(&ProofPlan::inclusion(index, self.builder.size()).unwrap())
    }

    pub(crate) fn consistency_proof(&self, old: u64) -> Vec<Hash> {
        self.prove(&ProofPlan::consistency(old, self.builder.size()).unwrap())
    }

    /// Gives the plan the tiles that it asks for, and no others.
    fn prove(&self, plan: &ProofPlan) -> Vec<Hash> {
        let planned = plan.tiles();
        let read: TileSet = self.tiles().filter(|tile| planned.contains(&tile.id())).collect();
        plan.hashes(&read).expect("every planned tile is in the tree")
    }
}
