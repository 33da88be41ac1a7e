//! Bundles carry the cosignatures, and a verifier with a policy counts them.

use std::fs;
use std::path::Path;

use super::{Installation, Witnesses, signer};
use crate::bundle::{verify, verify_with_python};
use crate::harness::process::{CommandOutput, run};

const MASTER_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

async fn export(installation: &Installation, output: &Path) -> CommandOutput {
    let tenant = installation.tenant.tenant_id();
    let output = output.to_str().expect("a path");
    let arguments =
        ["audit", "export", "--tenant", tenant, "--output", output, "--encryption-key", MASTER_KEY];
    run(&arguments, &installation.database.url()).await
}

#[tokio::test]
async fn a_bundle_is_verified_with_a_policy_that_its_cosignatures_meet_and_with_no_other() {
    let witnesses = Witnesses::new(&["a", "b", "c"]);
    let (_a, b) = (witnesses.start("a").await, witnesses.start("b").await);
    let lines = witnesses.lines();
    let installation = Installation::start(&format!("{lines}group two 2 a b c\nquorum two\n")).await;
    installation.ingest().await;
    installation.until_shown(installation.signed().await).await;
    let bundle = installation.folder.path().join("first.tar.gz");
    export(&installation, &bundle).await.succeeded();

    let vkey = signer().verifier().to_string();
    let verified = async |bundle: &Path, quorum: &str| {
        let policy = installation.folder.path().join("of-the-verifier");
        fs::write(&policy, format!("{lines}{quorum}\n")).expect("a policy");
        verify(bundle, &["--key", &vkey, "--policy", policy.to_str().expect("a path")]).await
    };
    let said = verified(&bundle, "group two 2 a b c\nquorum two").await.succeeded().output;
    assert_eq!(said.matches("  cosigned by witness.example.org/").count(), 2, "{said}");
    verified(&bundle, "group both all a b\nquorum both").await.succeeded();
    for quorum in ["group three all a b c\nquorum three", "quorum c"] {
        verified(&bundle, quorum).await.failed_with(1, &["2 witnesses", "not the quorum"]);
    }
    verify(&bundle, &["--key", &vkey]).await.succeeded();
    verify_with_python(&bundle, 1).await.succeeded();

    // Facts whose checkpoint is signed and not cosigned are not in a bundle yet.
    b.kill().await;
    installation.ingest().await;
    installation.grow().await;
    let later = installation.folder.path().join("later.tar.gz");
    let said = export(&installation, &later).await.succeeded().output;
    assert!(said.contains("facts are left out, because no signed checkpoint covers them yet"), "{said}");
    verified(&later, "group both all a b\nquorum both").await.succeeded();
    installation.stop().await;
}
