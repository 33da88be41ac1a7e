//! Weights of tenants where they take turns.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use aggregates::ids::TenantId;

use super::values::ValueProblem;

const WEIGHT_MAX: u16 = 1_000;

/// Turns of each tenant in a round of the weighted round robin. A tenant that is not listed has weight 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TenantWeights(Arc<HashMap<TenantId, u16>>);

impl TenantWeights {
    #[must_use]
    pub fn new(weights: HashMap<TenantId, u16>) -> Self {
        Self(Arc::new(weights))
    }

    pub(crate) fn of(&self, tenant_id: TenantId) -> u16 {
        self.0.get(&tenant_id).copied().unwrap_or(1).max(1)
    }
}

impl FromStr for TenantWeights {
    type Err = ValueProblem;

    /// Parses `TENANT=WEIGHT,...`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut weights = HashMap::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let pair = word.split_once('=').and_then(|(tenant, weight)| {
                let tenant = tenant.trim().parse().ok().map(TenantId)?;
                let weight: u16 = weight.trim().parse().ok()?;
                (1..=WEIGHT_MAX).contains(&weight).then_some((tenant, weight))
            });
            let Some((tenant, weight)) = pair else {
                return Err(ValueProblem(format!(
                    "must be TENANT=WEIGHT,... with ids of tenants and weights from 1 to {WEIGHT_MAX}"
                )));
            };
            if weights.insert(tenant, weight).is_some() {
                return Err(ValueProblem(format!("must name each tenant once; {tenant} is there twice")));
            }
        }
        Ok(Self::new(weights))
    }
}
