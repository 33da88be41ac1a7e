//! Users, and that a tenant keeps an Owner.

use futures::future::join_all;
use serde_json::json;

use crate::harness::api::{Api, PASSWORD, login, unique};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;

fn path(user: &User) -> String {
    format!("/api/v1/users/{}", user.id)
}

#[tokio::test]
async fn a_user_is_created_shown_and_listed() {
    let owner = User::owner(&Api::shared().await).await;
    let email = format!("{}@example.com", unique("user"));
    let body = json!({ "email": format!(" {} ", email.to_uppercase()), "password": PASSWORD });
    let user = owner.post("/api/v1/users", &body).await.expect(201);
    assert_eq!((&user.body["email"], &user.body["role"]), (&json!(email), &json!("Developer")));
    assert_eq!((&user.body["status"], &user.body["tenantId"]), (&json!("Active"), &json!(owner.tenant_id)));
    assert_eq!(user.body["secondFactorEnabled"], false);
    assert_eq!(user.body.as_object().unwrap().len(), 8);
    let location = user.header("location").to_owned();
    assert_eq!(owner.get(&location).await.expect(200).body, user.body);
    let list = owner.get("/api/v1/users?CpOrd=createdAt&TpOrd=Desc").await.expect(200);
    assert_eq!(list.body["total"], 2);
    assert_eq!(list.body["items"][0], user.body);
    assert!(!list.text.contains("argon2"));
}

#[tokio::test]
async fn a_role_is_given_by_name_or_by_number() {
    let owner = User::owner(&Api::shared().await).await;
    for (given, role) in
        [(json!("vIEWER"), "Viewer"), (json!(1), "Admin"), (json!("0"), "Developer"), (json!(10), "Owner")]
    {
        let body =
            json!({ "email": format!("{}@example.com", unique("user")), "password": "x", "role": given });
        assert_eq!(owner.post("/api/v1/users", &body).await.expect(201).body["role"], role);
    }
}

#[tokio::test]
async fn lists_are_filtered_paged_and_sorted() {
    let owner = User::owner(&Api::shared().await).await;
    for role in ["Viewer", "Viewer", "Developer"] {
        owner.colleague(role).await;
    }
    let inactive = owner.colleague("Viewer").await;
    owner.patch(&path(&inactive), &json!({ "status": 1 })).await.expect(200);
    for (query, total) in [
        ("", 5),
        ("?Role=Viewer", 3),
        ("?role=20&status=active", 2),
        ("?Status=1", 1),
        ("?Status=Inactive&Role=0", 0),
    ] {
        assert_eq!(
            owner.get(&format!("/api/v1/users{query}")).await.expect(200).body["total"],
            total,
            "{query}"
        );
    }
    let emails = async |query: &str| -> Vec<String> {
        let list = owner.get(&format!("/api/v1/users?CpOrd=EMAIL&{query}")).await.expect(200).body;
        assert_eq!(list["total"], 5);
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| user["email"].as_str().unwrap().to_owned())
            .collect()
    };
    let all = emails("TpOrd=0").await;
    assert!(all.is_sorted() && all.len() == 5);
    let mut paged = emails("TpOrd=Asc&Qt=2&Pg=1").await;
    paged.extend(emails("TpOrd=asc&Qt=2&Pg=2").await);
    paged.extend(emails("tpord=ASC&qt=2&pg=3").await);
    assert_eq!(paged, all);
    assert!(emails("Qt=2&Pg=4").await.is_empty());
    assert!(emails("Pg=9223372036854775807&Qt=200").await.is_empty());
    for query in [
        "Role=Boss",
        "Role=2",
        "Status=2",
        "Status=",
        "CpOrd=passwordHash",
        "TpOrd=up",
        "Qt=0",
        "Pg=0",
        "Qt=x",
    ] {
        let name = query.split('=').next().unwrap();
        let refused = owner.get(&format!("/api/v1/users?{query}")).await.expect(400);
        assert_eq!(refused.wrong(), [name], "{query}");
    }
}

#[tokio::test]
async fn an_email_belongs_to_one_user_until_it_is_changed_or_the_user_deleted() {
    let owner = User::owner(&Api::shared().await).await;
    let (first, second) = (owner.colleague("Developer").await, owner.colleague("Developer").await);
    let taken = json!({ "email": first.email, "password": "x" });
    assert_eq!(owner.post("/api/v1/users", &taken).await.expect(409).problem(), "email-taken");
    owner.patch(&path(&second), &json!({ "email": first.email })).await.expect(409);
    let renamed = format!("{}@example.com", unique("renamed"));
    let changed = owner.patch(&path(&first), &json!({ "email": renamed })).await.expect(200);
    assert_eq!(changed.body["email"], renamed);
    login(&owner.api, &renamed, PASSWORD).await.expect(200);
    login(&owner.api, &first.email, PASSWORD).await.expect(401);
    owner.patch(&path(&second), &json!({ "email": first.email })).await.expect(200);
    owner.delete(&path(&second)).await.expect(204);
    owner.post("/api/v1/users", &taken).await.expect(201);
}

#[tokio::test]
async fn a_new_password_closes_earlier_sessions() {
    let owner = User::owner(&Api::shared().await).await;
    let user = owner.colleague("Viewer").await;
    let other = User::login(&user.api, &user.id, &user.tenant_id, &user.email).await;
    user.patch(&path(&user), &json!({ "password": "something new" })).await.expect(200);
    user.get("/api/v1/users").await.expect(401);
    other.get("/api/v1/users").await.expect(401);
    login(&user.api, &user.email, PASSWORD).await.expect(401);
    login(&user.api, &user.email, "something new").await.expect(200);
}

#[tokio::test]
async fn a_wrong_current_password_changes_nothing() {
    let owner = User::owner(&Api::shared().await).await;
    let colleague = owner.colleague("Viewer").await;
    let change = |current: &str| json!({ "password": "something new", "currentPassword": current });
    let refused = owner.patch(&path(&owner), &change("a guess")).await.expect(400);
    assert_eq!(refused.wrong(), ["currentPassword"]);
    login(&owner.api, &owner.email, PASSWORD).await.expect(200);
    // Guesses count as failed logins.
    for _ in 0..10 {
        owner.patch(&path(&owner), &change("a guess")).await.expect(400);
    }
    owner.patch(&path(&owner), &change(PASSWORD)).await.expect(429);
    login(&owner.api, &owner.email, PASSWORD).await.expect(429);
    // Of others it is not asked for.
    owner.patch(&path(&colleague), &json!({ "password": "something new" })).await.expect(200);
}

#[tokio::test]
async fn serve_requires_long_uncommon_passwords_and_the_current_one_for_a_change() {
    let database = TestDatabase::create().await;
    let process = Launch::serve("api,projector", &database.url()).ready().await;
    let owner = User::owner(&Api::at(process.base())).await;
    let email = format!("{}@example.com", unique("renamed"));
    for change in [json!({ "password": "something else" }), json!({ "email": email })] {
        let refused = owner.patch(&path(&owner), &change).await.expect(400);
        assert_eq!(refused.wrong(), ["currentPassword"], "{change}");
    }
    for password in ["eleven char", "password1234"] {
        let change = json!({ "password": password, "currentPassword": PASSWORD });
        assert_eq!(owner.patch(&path(&owner), &change).await.expect(400).wrong(), ["password"], "{password}");
    }
    let change = json!({ "email": email, "currentPassword": PASSWORD });
    assert_eq!(owner.patch(&path(&owner), &change).await.expect(200).body["email"], email);
    owner.patch(&path(&owner), &json!({ "role": "Owner" })).await.expect(200);
    process.stop().await;
    database.discard().await;
}

#[tokio::test]
async fn a_password_is_changed_a_limited_number_of_times() {
    let owner = User::owner(&Api::shared().await).await;
    let (user, other) = (owner.colleague("Viewer").await, owner.colleague("Viewer").await);
    let change = json!({ "password": "something new" });
    for _ in 0..5 {
        owner.patch(&path(&user), &change).await.expect(200);
    }
    owner.patch(&path(&user), &change).await.expect(429);
    owner.patch(&path(&other), &change).await.expect(200);
    owner.patch(&path(&user), &json!({ "role": "Developer" })).await.expect(200);
}

#[tokio::test]
async fn roles_decide_who_changes_whom() {
    let owner = User::owner(&Api::shared().await).await;
    let (admin, developer) = (owner.colleague("Admin").await, owner.colleague("Developer").await);
    let other_admin = owner.colleague("Admin").await;
    let email = json!({ "email": format!("{}@example.com", unique("new")) });
    let forbidden = [
        (&developer, &admin, email.clone()),
        (&developer, &developer, json!({ "role": "Owner" })),
        (&developer, &developer, json!({ "status": "Inactive" })),
        (&admin, &owner, json!({ "password": "stolen" })),
        (&admin, &other_admin, email.clone()),
        (&admin, &other_admin, json!({ "status": "Inactive" })),
        (&admin, &admin, json!({ "role": "Owner" })),
        (&admin, &developer, json!({ "role": "Admin" })),
    ];
    for (by, target, change) in forbidden {
        assert_eq!(by.patch(&path(target), &change).await.expect(403).problem(), "role-forbids", "{change}");
    }
    // A change to the current value appends no fact.
    admin.patch(&path(&admin), &json!({ "role": "admin", "status": "Active" })).await.expect(200);
    developer.patch(&path(&developer), &email).await.expect(200);
    admin.patch(&path(&developer), &json!({ "role": "Viewer" })).await.expect(200);
    for role in ["Admin", "Owner"] {
        let body =
            json!({ "email": format!("{}@example.com", unique("user")), "password": "x", "role": role });
        admin.post("/api/v1/users", &body).await.expect(403);
    }
    admin.delete(&path(&owner)).await.expect(403);
    admin.delete(&path(&other_admin)).await.expect(204);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let owner = User::owner(&Api::shared().await).await;
    for change in [json!({ "role": "Admin" }), json!({ "status": "Inactive" })] {
        assert_eq!(owner.patch(&path(&owner), &change).await.expect(409).problem(), "last-owner");
    }
    owner.delete(&path(&owner)).await.expect(409);
    let second = owner.colleague("Owner").await;
    owner.patch(&path(&second), &json!({ "status": "Inactive" })).await.expect(200);
    // An inactive owner does not count.
    owner.delete(&path(&owner)).await.expect(409);
    owner.patch(&path(&second), &json!({ "status": "Active" })).await.expect(200);
    owner.delete(&path(&owner)).await.expect(204);
}

#[tokio::test]
async fn owners_who_dismiss_each_other_at_once_leave_one() {
    for round in 0..4 {
        let first = User::owner(&Api::shared().await).await;
        let second = first.colleague("Owner").await;
        let (first_path, second_path) = (path(&first), path(&second));
        let answers = match round % 2 {
            0 => join_all([first.delete(&second_path), second.delete(&first_path)]).await,
            _ => {
                let demote = json!({ "role": "Viewer" });
                let demotions = [first.patch(&second_path, &demote), second.patch(&first_path, &demote)];
                join_all(demotions).await
            }
        };
        let done = answers.iter().filter(|answer| answer.status < 300).count();
        assert_eq!(done, 1, "{answers:?}");
    }
}

#[tokio::test]
async fn a_deleted_user_is_gone() {
    let owner = User::owner(&Api::shared().await).await;
    let user = owner.colleague("Developer").await;
    owner.delete(&path(&user)).await.expect(204);
    owner.get(&path(&user)).await.expect(404);
    owner.delete(&path(&user)).await.expect(404);
    owner.patch(&path(&user), &json!({})).await.expect(404);
}
