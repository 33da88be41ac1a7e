//! Exports: every fact, in both formats, resumed, and harmless in a spreadsheet.

use serde_json::{Value, json};

use super::{search, settle, types};
use crate::harness::api::{Answer, Api};
use crate::harness::tenant::User;

const EXPORT: &str = "/api/v1/audit/export";

async fn owner() -> User {
    User::owner(&Api::shared().await).await
}

/// Returns the facts and the last line of an export as NDJSON.
async fn export(user: &User, query: &str) -> (Vec<Value>, Value) {
    let answer = user.get(&format!("{EXPORT}?{query}")).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let mut lines: Vec<Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let end = lines.pop().expect("a last line");
    assert_eq!(end["end"]["facts"], lines.len());
    (lines, end["end"].clone())
}

/// Returns the lines of an export as CSV.
async fn export_csv(user: &User, query: &str) -> (Answer, Vec<Vec<String>>) {
    let answer = user.get(&format!("{EXPORT}?Format=csv&{query}")).await.expect(200);
    let mut lines = vec![];
    for line in answer.text.split_terminator("\r\n") {
        let (mut cells, mut cell, mut quoted) = (vec![], String::new(), false);
        let mut rest = line.chars().peekable();
        while let Some(character) = rest.next() {
            match character {
                '"' if quoted && rest.next_if_eq(&'"').is_some() => cell.push('"'),
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                _ => cell.push(character),
            }
        }
        cells.push(cell);
        lines.push(cells);
    }
    (answer, lines)
}

/// Cuts what depends on the search.
fn without_cursors(facts: &[Value]) -> Vec<Value> {
    let cut = |fact: &Value| {
        let mut fact = fact.clone();
        fact["cursor"].take();
        fact
    };
    facts.iter().map(cut).collect()
}

#[tokio::test]
async fn an_export_has_every_fact_of_the_list_and_is_a_fact_itself() {
    let owner = owner().await;
    owner.destination().await;
    let listed = search(&owner, "TpOrd=Asc", 200).await;
    let (facts, end) = export(&owner, "").await;
    assert_eq!(without_cursors(&facts), without_cursors(&listed));
    assert_eq!(end["complete"], true);

    settle(&owner).await;
    let next = end["next"].as_str().expect("a cursor");
    let (later, end) = export(&owner, &format!("After={next}")).await;
    assert_eq!(types(&later), ["AuditExported", "ApiKeyIssued"]);
    assert_eq!(later[0]["details"], json!({ "format": "ndjson", "filter": "" }));
    assert_eq!(later[0]["subject"], json!({ "kind": "Tenant", "id": owner.tenant_id }));
    assert_eq!(later[0]["actor"]["id"], owner.id);
    assert_eq!(end["complete"], true);

    let (_, lines) = export_csv(&owner, "Facts=all&Type=LoggedIn").await;
    assert_eq!(lines.len(), 3);
    settle(&owner).await;
    let (exports, _) = export(&owner, "Type=AuditExported").await;
    let filter = &exports[exports.len() - 1]["details"];
    assert_eq!(filter, &json!({ "format": "csv", "filter": "Facts=all&Type=LoggedIn" }));
}

#[tokio::test]
async fn an_export_goes_on_behind_any_line() {
    let owner = owner().await;
    for name in ["a", "b", "c"] {
        owner.post("/api/v1/apikeys", &json!({ "name": name })).await.expect(201);
    }
    let time = search(&owner, "", 1).await[0]["time"].as_str().expect("a time").to_owned();
    let filter = format!("To={time}");
    let (whole, _) = export(&owner, &filter).await;
    assert!(whole.len() >= 6);
    for (number, fact) in whole.iter().enumerate() {
        let cursor = fact["cursor"].as_str().expect("a cursor");
        let (rest, end) = export(&owner, &format!("{filter}&After={cursor}")).await;
        assert_eq!(rest, whole[number + 1..]);
        assert_eq!(end["complete"], true);
    }
    let (mut pieces, mut after) = (vec![], String::new());
    loop {
        let (piece, end) = export(&owner, &format!("{filter}&Qt=2{after}")).await;
        pieces.extend(piece);
        if end["complete"] == true {
            break;
        }
        after = format!("&After={}", end["next"].as_str().expect("a cursor"));
    }
    assert_eq!(pieces, whole);
}

#[tokio::test]
async fn csv_has_the_same_facts_and_no_cell_that_is_a_formula() {
    let owner = owner().await;
    let (destination, _) = owner.destination().await;
    let hostile = ["=cmd|' /C calc'!A0", "+1+1", "-1", "@SUM(A1)", "\t=1", "a,\"b\"\r\n=2"];
    for label in hostile {
        let body = json!({ "name": label });
        owner.post("/api/v1/apikeys", &body).await;
        let body = json!({ "label": label });
        owner.post(&format!("/api/v1/destinations/{destination}/senders"), &body).await;
    }
    let name = json!({ "name": format!("=HYPERLINK(\"{}\")", owner.tenant_id) });
    owner.patch(&format!("/api/v1/tenants/{}", owner.tenant_id), &name).await.expect(200);
    let listed = search(&owner, "TpOrd=Asc", 200).await;
    let (answer, lines) = export_csv(&owner, "").await;
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8; header=present");
    assert!(answer.header("content-disposition").starts_with("attachment"));
    let [header, facts @ .., end] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(header[5], "type");
    assert_eq!(
        (end[5].as_str(), end[6].as_str()),
        ("ExportEnd", "The export is complete: N facts.".replace('N', &facts.len().to_string()).as_str())
    );
    let of_list: Vec<_> = listed.iter().map(|fact| fact["fact"].as_str().expect("a name")).collect();
    let of_export: Vec<_> = facts.iter().map(|line| line[9].as_str()).collect();
    assert_eq!(of_export, of_list);
    for line in &lines {
        assert_eq!(line.len(), header.len());
        assert!(line.iter().all(|cell| !cell.starts_with(['=', '+', '-', '@', '\t', '\r'])), "{line:?}");
    }
    let renamed = facts.iter().find(|line| line[5] == "TenantRenamed").expect("the fact");
    assert!(renamed[12].contains("=HYPERLINK"), "{renamed:?}");
    // The mark of a cell is accepted with a cursor.
    let (_, rest) = export_csv(&owner, &format!("After='{}", facts[0][0].trim_start_matches('\''))).await;
    assert_eq!(rest[1], facts[1]);
}

#[tokio::test]
async fn what_is_wrong_with_an_export_is_named_before_it_begins() {
    let owner = owner().await;
    for (query, wrong) in [
        ("Format=xml", vec!["Format"]),
        ("Qt=0", vec!["Qt"]),
        ("From=2026-02-01&To=2026-01-01", vec!["To"]),
        ("Type=NoSuchFact&Actor=x", vec!["Actor", "Type"]),
        ("After=x", vec!["After"]),
    ] {
        let answer = owner.get(&format!("{EXPORT}?{query}")).await.expect(400);
        assert_eq!(answer.wrong(), wrong, "{query}");
    }
    assert_eq!(search(&owner, "Type=AuditExported", 10).await, Vec::<Value>::new());
    let colleague = owner.colleague("Developer").await;
    colleague.get(EXPORT).await.expect(403);
    colleague.get("/api/v1/audit").await.expect(403);
}
