//! State of the handlers of the transparency log.

use aggregates::ids::TenantId;
use evidence::leaf::EvidenceKey;
use projections::TenantScope;
use sqlx::PgPool;

use crate::api::access::authentication::Caller;
use crate::api::http::problem::{Kind, Problem};
use crate::api::v1::events::Events;
use crate::evidence_log::{self, ReadFailure, Tree, TreeOwner};
use crate::secrets::vault::{Vault, VaultFailure};

/// Dependencies of the handlers of the transparency log.
#[derive(Clone, Debug)]
pub(crate) struct Audit {
    pub(crate) events: Events,
    pub(crate) vault: Vault,
}

impl Audit {
    pub(crate) fn pool(&self) -> &PgPool {
        self.events.commands.pool()
    }

    /// Returns the trees of the caller's tenant, oldest first.
    pub(crate) async fn trees(&self, caller: &Caller) -> Result<Vec<Tree>, Problem> {
        let mut scope = TenantScope::begin(self.pool(), caller.tenant_id).await?;
        let trees = evidence_log::trees_of_tenant(scope.connection(), caller.tenant_id).await?;
        scope.end().await?;
        Ok(trees)
    }

    /// Returns the tree of the tenant's current log.
    pub(crate) async fn tree(&self, caller: &Caller) -> Result<Tree, Problem> {
        self.trees(caller).await?.pop().ok_or_else(nothing_sealed)
    }

    /// Returns the key from which the salts of a tenant's entries follow.
    pub(crate) async fn evidence_key(&self, tenant: TenantId, tree: &Tree) -> Result<EvidenceKey, Problem> {
        let TreeOwner::Tenant { data_key, .. } = tree.owner() else { return Err(nothing_sealed()) };
        match self.vault.evidence_key(tenant, Some(data_key)).await {
            Ok((_, key)) => Ok(key),
            Err(VaultFailure::UnknownDataKey { .. }) => Err(Problem::new(
                Kind::NotFound,
                "The key of this tenant was deleted, so the entries of its log cannot be computed.",
            )),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Answer while nothing of a log is signed.
pub(crate) fn nothing_sealed() -> Problem {
    Problem::new(Kind::NotFound, "No checkpoint of this log has been signed yet.")
}

impl From<ReadFailure> for Problem {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Database(error) => error.into(),
            damage => Self::internal(damage),
        }
    }
}
