//! Witnesses that hang, lie, send too much, or send elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use evidence::checkpoint::Checkpoint;
use evidence::tree::{Hash, TreeHead};
use evidence::witness::AddCheckpoint;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use super::{Installation, NAME, Witnesses, cosigner, witness_line};
use crate::harness::until;

/// What a witness does.
#[derive(Clone, Copy)]
enum Answer {
    Nothing,
    /// The cosignature of another tree.
    False,
    /// A cosignature, and then megabytes of them.
    Endless,
    /// The cosignature of another witness.
    OfAnother,
    Redirect,
}

/// A server that answers like that. It is closed when it is dropped.
struct Impostor {
    base: String,
    requests: Arc<AtomicUsize>,
    server: AbortHandle,
}

#[derive(Clone)]
struct Behaviour {
    answer: Answer,
    name: &'static str,
    elsewhere: String,
    requests: Arc<AtomicUsize>,
}

impl Impostor {
    async fn start(name: &'static str, answer: Answer, elsewhere: &str) -> Self {
        let requests = Arc::new(AtomicUsize::new(0));
        let behaviour =
            Behaviour { answer, name, elsewhere: elsewhere.to_owned(), requests: Arc::clone(&requests) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let base = format!("http://{}", listener.local_addr().expect("a bound socket"));
        let app = Router::new().fallback(add_checkpoint).with_state(behaviour);
        let mut tasks = tokio::task::JoinSet::new();
        let server = tasks.spawn(async move { axum::serve(listener, app).await });
        tasks.detach_all();
        Self { base, requests, server }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn add_checkpoint(State(behaviour): State<Behaviour>, body: Bytes) -> Response {
    behaviour.requests.fetch_add(1, Ordering::SeqCst);
    let request = AddCheckpoint::parse(&body).expect("a request of the standard");
    let checkpoint = request.checkpoint.checkpoint();
    let cosigned =
        |name: &str, checkpoint: &Checkpoint| format!("{}\n", cosigner(name).cosign(checkpoint, 1));
    match behaviour.answer {
        Answer::Nothing => std::future::pending().await,
        Answer::False => {
            let tree = TreeHead { size: checkpoint.tree.size, root: Hash::of_leaf(b"another") };
            let other = Checkpoint { origin: NAME.parse().unwrap(), tree };
            cosigned(behaviour.name, &other).into_response()
        }
        Answer::Endless => cosigned(behaviour.name, checkpoint).repeat(1 << 14).into_response(),
        Answer::OfAnother => cosigned("another", checkpoint).into_response(),
        Answer::Redirect => {
            (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, behaviour.elsewhere)]).into_response()
        }
    }
}

#[tokio::test]
async fn witnesses_that_fail_cosign_nothing_and_the_others_do() {
    let witnesses = Witnesses::new(&["real"]);
    let _real = witnesses.start("real").await;
    let elsewhere = Impostor::start("redirect", Answer::Nothing, "").await;
    let target = format!("{}/add-checkpoint", elsewhere.base);
    let mut policy = witnesses.lines();
    let mut impostors = vec![];
    for (name, answer) in [
        ("hanging", Answer::Nothing),
        ("false", Answer::False),
        ("endless", Answer::Endless),
        ("mistaken", Answer::OfAnother),
        ("redirect", Answer::Redirect),
    ] {
        let impostor = Impostor::start(name, answer, &target).await;
        policy += &witness_line(name, &impostor.base);
        impostors.push(impostor);
    }
    policy += "group impostors all hanging false endless mistaken redirect\n\
               group either any real impostors\nquorum either\n";
    let installation = Installation::start_with(&policy, &[("HOOKSENTRY_EVIDENCE_TIMEOUT", "1s")]).await;
    for (name, result) in [
        ("real", "cosigned"),
        ("hanging", "unreachable"),
        ("false", "invalid"),
        ("endless", "invalid"),
        ("mistaken", "invalid"),
        ("redirect", "refused"),
    ] {
        installation.until_submitted(name, result).await;
    }
    // They are asked again, and again nothing is stored.
    until("second requests", async || impostors.iter().all(|impostor| impostor.requests() > 1).then_some(()))
        .await;
    let signed = installation.grow().await;
    installation.until_shown(signed).await;
    let vkey = cosigner("real").verifier().to_string();
    let others = format!("SELECT count(*) FROM checkpoint_cosignatures WHERE vkey <> '{vkey}'");
    assert_eq!(installation.number(&others).await, 0);
    assert_eq!(elsewhere.requests(), 0, "no redirect is followed");
    installation.stop().await;
}

#[tokio::test]
async fn a_witness_that_hangs_delays_no_checkpoint() {
    let hanging = Impostor::start("hanging", Answer::Nothing, "").await;
    let policy = witness_line("hanging", &hanging.base) + "quorum hanging\n";
    let installation = Installation::start_with(&policy, &[("HOOKSENTRY_EVIDENCE_TIMEOUT", "5m")]).await;
    until("a request that hangs", async || (hanging.requests() == 1).then_some(())).await;
    let first = installation.grow().await;
    let second = installation.grow().await;
    assert!(second > first);
    assert_eq!(hanging.requests(), 1);
    // A request that hangs does not delay the end of the process either.
    installation.stop().await;
}
