//! Mapping of a sender, which reshapes what it sends.
//!
//! Mappings and payloads are handled as texts and not as parsed values: a preview must equal the delivery byte for
//! byte, and the order of a mapping's keys is part of its meaning.

pub(crate) mod get;
pub(crate) mod preview;
pub(crate) mod remove;
pub(crate) mod replace;
pub(crate) mod set;

use aggregates::ids::SenderId;
use aggregates::mapping::MappingProblem;
use projections::{TenantScope, senders};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Senders;
use crate::api::access::authentication::Caller;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::openapi::schemas::MappingGiven;

/// The mapping of a sender.
#[derive(Serialize, ToSchema)]
#[schema(as = Mapping)]
pub(crate) struct MappingView {
    /// The mapping, with its keys in the order in which they were sent.
    #[schema(value_type = MappingGiven)]
    mapping: Box<RawValue>,
}

impl MappingView {
    fn of(json: String) -> Result<Self, Problem> {
        Ok(Self { mapping: RawValue::from_string(json)? })
    }
}

impl Senders {
    async fn mapping(&self, caller: &Caller, id: SenderId) -> Result<Option<String>, Problem> {
        let mut scope = TenantScope::begin(self.commands.pool(), caller.tenant_id).await?;
        let mapping = senders::mapping(&mut scope, id).await?;
        scope.end().await?;
        Ok(mapping)
    }
}

/// Names the key of the mapping that is wrong.
fn refused(problem: MappingProblem) -> Problem {
    let key = problem.key().map_or_else(|| "mapping".to_owned(), str::to_owned);
    Problem::invalid(FieldErrors::of(key, problem.to_string()))
}
