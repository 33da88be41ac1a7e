//! A short run of the fault suite on the program that was built with this test.

use std::path::PathBuf;
use std::time::Duration;

use hooksentry_chaos::checker::check;
use hooksentry_chaos::faults::{FaultKind, PlanSize};
use hooksentry_chaos::report::report;
use hooksentry_chaos::run::{RunOptions, run};

/// Faults that need no further server.
const KINDS: [FaultKind; 9] = [
    FaultKind::Kill,
    FaultKind::Pause,
    FaultKind::PostgresCrash,
    FaultKind::BackendPause,
    FaultKind::QueueDeletion,
    FaultKind::Cut,
    FaultKind::Delay,
    FaultKind::Stall,
    FaultKind::Swallow,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_is_kept_under_faults() {
    // words: keep
    let seed = 1;
    let logs = tempfile::tempdir().expect("a folder").keep();
    let history = run(RunOptions {
        seed,
        events: 500,
        plan: PlanSize {
            faults: KINDS.len(),
            longest: Duration::from_secs(3),
            kinds: KINDS.to_vec(),
            rare_max: 0,
        },
        per_second: 20.0,
        program: program(),
        broker_nodes: 1,
        patroni: false,
        delivery_timeout: Duration::from_secs(5),
        logs: logs.clone(),
        progress: |line| eprintln!("{line}"),
    })
    .await
    .expect("a run");
    let verdict = check(&history);
    eprintln!("{}", report(&history, &verdict));
    assert!(verdict.accepted > 300, "{} events were accepted", verdict.accepted);
    assert!(verdict.violations.is_empty(), "{}logs: {}", verdict.print(&history), logs.display());
    std::fs::remove_dir_all(logs).expect("the folder of the logs");
}

/// Returns the program of the workspace, which is next to the folder of this test.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test.parent().and_then(|deps| deps.parent()).expect("the folder of the build");
    folder.join("hooksentry")
}
