//! Witnesses that have seen another history under the key of the installation.

use super::{Installation, Witnesses, signer};
use crate::harness::witness::History;

#[tokio::test]
async fn a_witness_of_another_history_is_counted_and_not_asked_again_and_again() {
    let witnesses = Witnesses::new(&["longer", "rooted"]);
    let (longer, rooted) = (witnesses.start("longer").await, witnesses.start("rooted").await);
    let history = History::new(600, 600);
    assert_eq!(longer.post(history.request(&signer(), 0, 600)).await.0, 200);
    assert_eq!(rooted.post(history.request(&signer(), 0, 1)).await.0, 200);

    let policy = witnesses.lines() + "group any any longer rooted\nquorum any\n";
    let installation = Installation::start(&policy).await;
    installation.until_submitted("longer", "fork").await;
    installation.until_submitted("rooted", "fork").await;
    for _ in 0..3 {
        installation.grow().await;
    }
    for name in ["longer", "rooted"] {
        assert_eq!(installation.submissions(name, "fork").await, 1, "{name}");
        assert_eq!(installation.submissions(name, "cosigned").await, 0, "{name}");
    }
    assert!(installation.shown().await.is_none());
    installation.stop().await;
}
