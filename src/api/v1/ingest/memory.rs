//! Memory of the payloads that are received and not stored yet.
//!
//! While the database is slow, requests wait, each with its payload. They may use a bounded number of bytes in
//! total, and one tenant a part of that, so that the payloads of one do not keep out those of the others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregates::ids::TenantId;

use crate::api::http::problem::Problem;

/// Part of the memory that one tenant may use: a quarter.
pub(crate) const TENANT_SHARE: usize = 4;

/// The memory. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct PayloadMemory {
    bytes_max: usize,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    bytes: usize,
    by_tenant: HashMap<TenantId, usize>,
}

/// Bytes that a request uses, until it is dropped.
#[derive(Debug)]
pub(crate) struct UsedMemory {
    memory: PayloadMemory,
    tenant_id: TenantId,
    bytes: AtomicUsize,
}

impl PayloadMemory {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: Arc::default() }
    }

    /// Returns the memory of a request, which uses nothing yet.
    pub(crate) fn of_request(&self, tenant_id: TenantId) -> UsedMemory {
        UsedMemory { memory: self.clone(), tenant_id, bytes: AtomicUsize::new(0) }
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UsedMemory {
    /// Uses more bytes.
    ///
    /// # Errors
    /// A limit would be exceeded. The only request of a tenant may use more than the tenant's part.
    pub(crate) fn grow(&self, bytes: usize) -> Result<(), Problem> {
        let own = self.bytes.load(Ordering::Relaxed);
        let bytes_max = self.memory.bytes_max;
        let mut used = self.memory.used();
        if used.bytes.saturating_add(bytes) > bytes_max {
            return Err(Problem::overloaded(format!(
                "The service holds {bytes_max} bytes of payloads that are not stored yet, its limit. Try again later."
            )));
        }
        let of_tenant = used.by_tenant.get(&self.tenant_id).copied().unwrap_or_default();
        let share = bytes_max / TENANT_SHARE;
        if of_tenant > own && of_tenant.saturating_add(bytes) > share {
            return Err(Problem::overloaded(format!(
                "The service holds {share} bytes of payloads of this tenant that are not stored yet, its limit. Try \
                 again later."
            )));
        }
        used.bytes += bytes;
        used.by_tenant.insert(self.tenant_id, of_tenant + bytes);
        self.bytes.store(own + bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for UsedMemory {
    fn drop(&mut self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let mut used = self.memory.used();
        used.bytes -= bytes;
        if let Some(of_tenant) = used.by_tenant.get_mut(&self.tenant_id) {
            *of_tenant -= bytes;
            if *of_tenant == 0 {
                used.by_tenant.remove(&self.tenant_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[test]
    fn requests_share_the_memory_and_release_it() {
        let memory = PayloadMemory::new(100);
        let requests: Vec<_> = (1..=4).map(|number| memory.of_request(tenant(number))).collect();
        for request in &requests {
            request.grow(20).unwrap();
            request.grow(5).unwrap();
        }
        let fifth = memory.of_request(tenant(5));
        assert!(fifth.grow(1).is_err());
        drop(requests);
        fifth.grow(100).unwrap();
        drop(fifth);
        let used = memory.used();
        assert_eq!((used.bytes, used.by_tenant.len()), (0, 0));
    }

    #[test]
    fn a_tenant_uses_its_part_unless_it_has_a_single_request() {
        let memory = PayloadMemory::new(100);
        let large = memory.of_request(tenant(1));
        large.grow(30).unwrap();
        large.grow(30).unwrap();
        let another = memory.of_request(tenant(1));
        assert!(another.grow(1).is_err());
        memory.of_request(tenant(2)).grow(40).unwrap();
        drop(large);
        another.grow(25).unwrap();
        assert!(memory.of_request(tenant(1)).grow(1).is_err());
    }
}
