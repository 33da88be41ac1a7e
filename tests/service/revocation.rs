//! Revocations are in force with their answer, however far behind the read models are.

use hooksentry::projector::ProjectorHealth;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::api::{Api, PASSWORD, login, send};
use crate::harness::authenticator::Authenticator;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, run};
use crate::harness::tenant::User;
use crate::harness::until;

const NEW_PASSWORD: &str = "another password of the tests";

/// A tenant with one holder of each kind of right.
struct Holders {
    owner: User,
    leaving: User,
    changing: User,
    dismissed: User,
    deleted: User,
    demoted: User,
    enrolling: User,
    key_id: String,
    revoked_key: String,
    key: String,
    destination: (String, String),
    sender: (String, String),
    deleted_sender: (String, String),
    /// Id and holder.
    revoked_link: (String, User),
    link_holder: User,
}

impl Holders {
    async fn create(api: &Api) -> Self {
        let owner = User::owner(api).await;
        let revoked = owner.post("/api/v1/apikeys", &json!({ "name": "revoked" })).await.expect(201);
        let destination = owner.destination().await;
        let (revoked_link, link) =
            tokio::join!(portal_link(&owner, &destination.0), portal_link(&owner, &destination.0));
        let holders = Self {
            leaving: owner.colleague("Developer").await,
            changing: owner.colleague("Developer").await,
            dismissed: owner.colleague("Admin").await,
            deleted: owner.colleague("Admin").await,
            demoted: owner.colleague("Admin").await,
            enrolling: owner.colleague("Admin").await,
            key_id: revoked.text_of("id"),
            revoked_key: revoked.text_of("key"),
            key: owner.api_key().await,
            sender: owner.sender(&destination.0).await,
            deleted_sender: owner.sender(&destination.0).await,
            destination,
            revoked_link,
            link_holder: link.1,
            owner,
        };
        // Every right can be used, and is in the caches of ingest.
        for (key, token) in holders.ingest_credentials() {
            send(holders.owner.ingest(key, token, "{}")).await.expect(202);
        }
        holders
    }

    fn ingest_credentials(&self) -> [(&str, &str); 4] {
        [
            (&self.revoked_key, &self.destination.1),
            (&self.key, &self.destination.1),
            (&self.key, &self.sender.1),
            (&self.key, &self.deleted_sender.1),
        ]
    }

    /// Revokes every right, and checks each as soon as its revocation is answered.
    async fn revoke_all(&self) {
        tokio::join!(
            self.log_out(),
            self.change_password(),
            self.deactivate(),
            self.delete(),
            self.demote(),
            self.enrol(),
            self.revoke_key(),
            self.revoke_portal_link(),
            self.replace_tokens()
        );
    }

    fn path(user: &User) -> String {
        format!("/api/v1/users/{}", user.id)
    }

    async fn log_out(&self) {
        let body = json!({ "refreshToken": self.leaving.refresh_token });
        self.leaving.post("/api/v1/auth/logout", &body).await.expect(204);
        self.leaving.get("/api/v1/users").await.expect(401);
        let refreshed = send(self.owner.api.request("POST", "/api/v1/auth/refresh").json(&body)).await;
        refreshed.expect(401);
    }

    async fn change_password(&self) {
        let body = json!({ "password": NEW_PASSWORD, "currentPassword": PASSWORD });
        self.changing.patch(&Self::path(&self.changing), &body).await.expect(200);
        is_refused(&self.changing).await;
        assert_ne!(login(&self.owner.api, &self.changing.email, PASSWORD).await.status, 200);
    }

    async fn deactivate(&self) {
        let body = json!({ "status": "Inactive" });
        self.owner.patch(&Self::path(&self.dismissed), &body).await.expect(200);
        is_refused(&self.dismissed).await;
        assert_ne!(login(&self.owner.api, &self.dismissed.email, PASSWORD).await.status, 200);
    }

    async fn delete(&self) {
        self.owner.delete(&Self::path(&self.deleted)).await.expect(204);
        is_refused(&self.deleted).await;
        assert_ne!(login(&self.owner.api, &self.deleted.email, PASSWORD).await.status, 200);
    }

    async fn demote(&self) {
        self.owner.patch(&Self::path(&self.demoted), &json!({ "role": "Viewer" })).await.expect(200);
        let refused = self.demoted.post("/api/v1/apikeys", &json!({ "name": "mine" })).await;
        assert!(matches!(refused.status, 403 | 503), "{}", refused.text);
    }

    /// The second factor takes away the right to log in with the password alone.
    async fn enrol(&self) {
        let body = json!({ "currentPassword": PASSWORD });
        let begun = self.enrolling.post("/api/v1/second-factor", &body).await.expect(200);
        let code = Authenticator::new(&begun.text_of("secret")).code().await;
        let body = json!({ "totpCode": code });
        self.enrolling.post("/api/v1/second-factor/confirm", &body).await.expect(200);
        is_refused(&self.enrolling).await;
        assert_ne!(login(&self.owner.api, &self.enrolling.email, PASSWORD).await.status, 200);
    }

    async fn revoke_key(&self) {
        self.owner.delete(&format!("/api/v1/apikeys/{}", self.key_id)).await.expect(200);
        send(self.owner.ingest(&self.revoked_key, &self.sender.1, "{}")).await.expect(401);
    }

    async fn revoke_portal_link(&self) {
        let (id, holder) = &self.revoked_link;
        self.owner.delete(&format!("/api/v1/portal-links/{id}")).await.expect(200);
        holder.get("/api/v1/portal").await.expect(401);
        self.link_holder.get("/api/v1/portal").await.expect(200);
    }

    async fn replace_tokens(&self) {
        let destination = format!("/api/v1/destinations/{}/ingest-token", self.destination.0);
        self.owner.call(&destination).await.expect(200);
        send(self.owner.ingest(&self.key, &self.destination.1, "{}")).await.expect(404);
        tokio::join!(
            async {
                self.owner.call(&format!("/api/v1/senders/{}/ingest-token", self.sender.0)).await.expect(200);
                send(self.owner.ingest(&self.key, &self.sender.1, "{}")).await.expect(404);
            },
            async {
                self.owner.delete(&format!("/api/v1/senders/{}", self.deleted_sender.0)).await.expect(204);
                send(self.owner.ingest(&self.key, &self.deleted_sender.1, "{}")).await.expect(404);
            }
        );
    }
}

/// Creates a portal link. Returns its id, and a client that sends its token.
async fn portal_link(owner: &User, destination: &str) -> (String, User) {
    let link = json!({ "destinationId": destination, "access": "Read", "label": "tests" });
    let link = owner.post("/api/v1/portal-links", &link).await.expect(201);
    (link.text_of("id"), User { token: link.text_of("token"), ..owner.clone() })
}

/// Suspends the tenant of `user`, and checks that it is in force when the command returns.
async fn suspend(user: &User, ingest: (&str, &str), database: &TestDatabase) {
    run(&["suspend-tenant", &user.tenant_id, "--reason", "spam"], &database.url()).await.succeeded();
    user.get("/api/v1/users").await.expect(403);
    login(&user.api, &user.email, PASSWORD).await.expect(403);
    let body = json!({ "refreshToken": user.refresh_token });
    send(user.api.request("POST", "/api/v1/auth/refresh").json(&body)).await.expect(403);
    send(user.ingest(ingest.0, ingest.1, "{}")).await.expect(403);
}

/// Checks that the user's access token is worth nothing: the session has ended, or it is not known yet what of it has.
async fn is_refused(user: &User) {
    let answer = user.get("/api/v1/users").await;
    assert!(matches!(answer.status, 401 | 503), "{}", answer.text);
}

/// Halts the read models of sessions, users, API keys, portal links, routes and tenants with facts that they cannot read.
async fn halt_read_models(pool: &PgPool) {
    for aggregate in ["Session", "User", "ApiKey", "PortalLink", "Destination", "Sender", "Tenant"] {
        sqlx::query(
            r#"
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            VALUES ($1, gen_random_uuid()::text, 1, 'Inserted', '1.0', '{"Inserted":{}}',
                '{"tenantId":"00000000-0000-0000-0000-000000000001"}')
            "#,
        )
        .bind(aggregate)
        .execute(pool)
        .await
        .expect("a row of the log");
    }
    let health = ProjectorHealth::new(pool.clone());
    until("the read models to halt", async || {
        let look = health.look().await.expect("an answer");
        let halted: Vec<_> = look.halted().map(|halted| halted.projection.name()).collect();
        let revocable = ["sessions", "users", "api_keys", "portal_links", "ingest_routes", "tenants"];
        revocable.iter().all(|name| halted.contains(name)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn revocations_are_in_force_while_no_projector_runs() {
    let database = TestDatabase::create().await;
    let api = Launch::serve("api", &database.url()).ready().await;
    let projector = Launch::serve("projector", &database.url()).ready().await;
    let holders = Holders::create(&Api::at(api.base())).await;
    projector.kill().await;
    holders.revoke_all().await;
    suspend(&holders.owner, (&holders.key, &holders.destination.1), &database).await;
    holders.link_holder.get("/api/v1/portal").await.expect(401);
    api.stop().await;
    database.discard().await;
}

#[tokio::test]
async fn revocations_are_in_force_while_the_read_models_have_halted() {
    let database = TestDatabase::create().await;
    let process = Launch::serve("api,projector", &database.url()).ready().await;
    let holders = Holders::create(&Api::at(process.base())).await;
    let pool = database.pool().await;
    halt_read_models(&pool).await;
    holders.revoke_all().await;
    suspend(&holders.owner, (&holders.key, &holders.destination.1), &database).await;
    holders.link_holder.get("/api/v1/portal").await.expect(401);
    pool.close().await;
    process.stop().await;
    database.discard().await;
}

#[tokio::test]
async fn a_session_that_the_read_models_do_not_show_ends_with_its_password() {
    let database = TestDatabase::create().await;
    let process = Launch::serve("api", &database.url()).ready().await;
    let projector = Launch::serve("projector", &database.url()).ready().await;
    let api = Api::at(process.base());
    let owner = User::owner(&api).await;
    projector.kill().await;
    // The change of the password cannot find this session.
    let late = User::login(&api, &owner.id, &owner.tenant_id, &owner.email).await;
    let body = json!({ "password": NEW_PASSWORD, "currentPassword": PASSWORD });
    owner.patch(&Holders::path(&owner), &body).await.expect(200);

    let projector = Launch::serve("projector", &database.url()).ready().await;
    until("the new password to be shown", async || {
        (login(&api.with_new_address(), &owner.email, NEW_PASSWORD).await.status == 200).then_some(())
    })
    .await;
    late.get("/api/v1/users").await.expect(401);
    let body = json!({ "refreshToken": late.refresh_token });
    send(api.request("POST", "/api/v1/auth/refresh").json(&body)).await.expect(401);
    projector.stop().await;
    process.stop().await;
    database.discard().await;
}
