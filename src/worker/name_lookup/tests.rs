use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::sync::watch;
use uuid::Uuid;

use super::*;

const A: Client = Some(TenantId(Uuid::from_u128(1)));
const B: Client = Some(TenantId(Uuid::from_u128(2)));

/// So long that a test which reaches it has failed.
const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(100);

/// A lookup that hangs for names that begin with `dead`, until it is released, and counts its calls.
struct Scripted {
    calls: AtomicUsize,
    released: watch::Sender<bool>,
    lifetime: Duration,
    is_available: bool,
}

#[async_trait]
impl NameLookup for Scripted {
    async fn lookup(&self, name: &str) -> Result<Addresses, LookupFailure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if name.starts_with("dead") {
            let mut released = self.released.subscribe();
            released.wait_for(|released| *released).await.unwrap();
        }
        tokio::task::yield_now().await;
        match name {
            "unknown." => Err(LookupFailure::Unresolvable("no such name".to_owned())),
            "short." => Err(LookupFailure::OwnShortage("no file".to_owned())),
            "empty." => Ok(Addresses { addresses: vec![], lifetime: self.lifetime }),
            _ => Ok(Addresses { addresses: vec![[192, 0, 2, 1].into()], lifetime: self.lifetime }),
        }
    }

    async fn is_available(&self) -> bool {
        self.is_available
    }
}

impl Scripted {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

fn resolver(timeout: Duration, lifetime: Duration) -> (NameResolver, Arc<Scripted>) {
    resolver_with(timeout, lifetime, true)
}

fn resolver_with(timeout: Duration, lifetime: Duration, is_available: bool) -> (NameResolver, Arc<Scripted>) {
    let (calls, released) = (AtomicUsize::new(0), watch::Sender::new(false));
    let lookup = Arc::new(Scripted { calls, released, lifetime, is_available });
    let limits = LookupLimits { timeout, ..LookupLimits::default() };
    (NameResolver::new(Arc::clone(&lookup) as _, limits), lookup)
}

fn is_shortage<T>(result: &Result<T, LookupFailure>) -> bool {
    matches!(result, Err(LookupFailure::OwnShortage(_)))
}

#[tokio::test]
async fn concurrent_attempts_share_one_lookup() {
    let (resolver, lookup) = resolver(LONG, LONG);
    let attempts = join_all((0..100).map(|number| {
        let client = if number % 2 == 0 { A } else { B };
        resolver.resolve(client, "a.example.")
    }));
    assert!(attempts.await.iter().all(Result::is_ok));
    assert_eq!(lookup.calls(), 1);
}

#[tokio::test]
async fn an_answer_is_kept_for_its_lifetime() {
    for (lifetime, calls) in [(LONG, 1), (Duration::ZERO, 3)] {
        let (resolver, lookup) = resolver(LONG, lifetime);
        for _ in 0..3 {
            resolver.resolve(A, "a.example.").await.unwrap();
        }
        assert_eq!(lookup.calls(), calls, "{lifetime:?}");
    }
}

#[tokio::test]
async fn a_failure_is_kept_unless_it_is_a_shortage() {
    for (name, calls) in [("unknown.", 1), ("empty.", 1), ("short.", 3)] {
        let (resolver, lookup) = resolver(LONG, LONG);
        for _ in 0..3 {
            assert_eq!(is_shortage(&resolver.resolve(A, name).await), name == "short.", "{name}");
        }
        assert_eq!(lookup.calls(), calls, "{name}");
    }
}

#[tokio::test]
async fn a_lookup_ends_without_an_answer_and_is_the_fault_of_the_name_unless_no_name_is_answered() {
    for is_available in [true, false] {
        let (resolver, _lookup) = resolver_with(SHORT, LONG, is_available);
        let result = resolver.resolve(A, "dead.example.").await;
        assert_eq!(is_shortage(&result), !is_available, "{result:?}");
        assert!(result.is_err());
    }
}

#[tokio::test]
async fn dead_names_of_one_tenant_delay_no_other() {
    let (resolver, lookup) = resolver(LONG, LONG);
    let names: Vec<String> = (0..1_000).map(|number| format!("dead{number}.example.")).collect();
    let dead = join_all(names.iter().map(|name| resolver.resolve(A, name)));
    let shared = resolver.resolve(A, "shared.example.");
    let others = async {
        while lookup.calls() < LookupLimits::default().concurrent_of_tenant_max {
            tokio::task::yield_now().await;
        }
        resolver.resolve(B, "alive.example.").await.unwrap();
        // The other tenant waits for its permit to look up the same name.
        resolver.resolve(B, "shared.example.").await.unwrap();
        assert_eq!(lookup.calls(), LookupLimits::default().concurrent_of_tenant_max + 2);
        lookup.released.send_replace(true);
    };
    let (dead, shared, ()) = tokio::join!(dead, shared, others);
    assert!(dead.iter().all(Result::is_ok) && shared.is_ok(), "they were looked up in turn");
    assert_eq!(lookup.calls(), 1_002);
}

#[tokio::test]
async fn a_lookup_that_gets_no_permit_is_a_shortage() {
    let (resolver, _lookup) = resolver(SHORT, LONG);
    let names: Vec<String> = (0..200).map(|number| format!("dead{number}.example.")).collect();
    let results = join_all(names.iter().map(|name| resolver.resolve(A, name))).await;
    let shortages = results.iter().filter(|result| is_shortage(result)).count();
    assert!(shortages > 0 && shortages < results.len(), "{shortages}");
}

#[tokio::test]
async fn permits_of_tenants_without_a_lookup_are_forgotten() {
    let (resolver, _lookup) = resolver(LONG, Duration::ZERO);
    for number in 0..TENANTS_SWEPT as u128 + 10 {
        resolver.resolve(Some(TenantId(Uuid::from_u128(number))), "a.example.").await.unwrap();
    }
    assert!(resolver.0.of_clients.lock().unwrap().len() < 20);
}
