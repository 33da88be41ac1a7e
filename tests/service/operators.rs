//! What operators read: readiness and metrics, at which address and with which token.

use reqwest::{Client, StatusCode};

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process, free_port};
use crate::harness::{client, until};

const TOKEN: &str = "a-token-of-the-operator";

async fn status(client: &Client, url: &str, token: Option<&str>) -> StatusCode {
    let request = client.get(url);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.expect("an answer").status()
}

#[tokio::test]
async fn metrics_are_served_at_the_address_for_operators_or_with_their_token() {
    let (client, database) = (client(), TestDatabase::create().await);
    let admin = format!("127.0.0.1:{}", free_port());
    for roles in ["api,projector", "projector"] {
        let launch = Launch::serve(roles, &database.url()).with("HOOKSENTRY_DOCS", "false");
        let program = launch.with("HOOKSENTRY_ADMIN_LISTEN", &admin).ready().await;
        assert_eq!(
            status(&client, &format!("{}/metrics", program.base()), None).await,
            StatusCode::NOT_FOUND
        );
        assert_eq!(status(&client, &format!("{}/docs", program.base()), None).await, StatusCode::NOT_FOUND);
        for path in ["/metrics", "/health", "/health/live", "/health/ready"] {
            assert_eq!(
                status(&client, &format!("http://{admin}{path}"), None).await,
                StatusCode::OK,
                "{path}"
            );
        }
        program.kill().await;
    }

    let program =
        Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_METRICS_TOKEN", TOKEN).ready().await;
    let metrics = format!("{}/metrics", program.base());
    for wrong in [None, Some("another"), Some("a-token-of-the-operato")] {
        assert_eq!(status(&client, &metrics, wrong).await, StatusCode::UNAUTHORIZED, "{wrong:?}");
    }
    assert_eq!(status(&client, &metrics, Some(TOKEN)).await, StatusCode::OK);
    program.kill().await;
    database.discard().await;
}

/// Returns how often the readiness was looked up.
async fn lookups(client: &Client, program: &Process) -> u64 {
    let answer = client.get(format!("{}/metrics", program.base())).send().await.expect("an answer");
    let metrics = answer.text().await.expect("text");
    let line = metrics.lines().find(|line| line.starts_with("hooksentry_readiness_lookups_total "));
    line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a count")
}

#[tokio::test]
async fn many_requests_for_readiness_share_one_look_at_the_database() {
    const REQUESTS: usize = 200;
    let (client, database) = (client(), TestDatabase::create().await);
    let program = Launch::serve("api,projector", &database.url()).ready().await;
    let ready = format!("{}/health/ready", program.base());
    // How many seconds the requests take is not known, only that there are fewer looks than requests.
    until("requests that share a look", async || {
        let before = lookups(&client, &program).await;
        for answered in futures::future::join_all((0..REQUESTS).map(|_| status(&client, &ready, None))).await
        {
            assert_eq!(answered, StatusCode::OK);
        }
        (lookups(&client, &program).await - before < REQUESTS as u64 / 10).then_some(())
    })
    .await;
    program.kill().await;
    database.discard().await;
}
