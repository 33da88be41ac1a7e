//! Every kind of alteration of a bundle is found, by the program and by the script, and the first bad position is named.

use std::path::Path;

use serde_json::{Value, json};

use super::{Installation, facts, members, verify_with_key, verify_with_python, write};

/// Members of a bundle that a test alters.
struct Bundle(Vec<(String, Vec<u8>)>);

impl Bundle {
    /// The number of the first member whose path contains these parts.
    fn find(&self, parts: &[&str]) -> usize {
        let found = self.0.iter().position(|(path, _)| parts.iter().all(|part| path.contains(part)));
        found.unwrap_or_else(|| panic!("no member {parts:?}"))
    }

    fn content(&mut self, parts: &[&str]) -> &mut Vec<u8> {
        let number = self.find(parts);
        &mut self.0[number].1
    }

    /// Flips a bit of a member.
    fn flip(&mut self, parts: &[&str], at: usize) {
        self.content(parts)[at] ^= 1;
    }

    fn remove(&mut self, parts: &[&str]) {
        let number = self.find(parts);
        self.0.remove(number);
    }

    /// Removes what a fact that was removed has committed to.
    fn remove_payloads_of(&mut self, line: &Value) {
        if line["fact"]["type"] == "EventAccepted" {
            let stream = line["fact"]["stream"].as_str().expect("a stream");
            let payloads = stream.replace("WebhookEvent/", "payloads/");
            self.0.retain(|(path, _)| !path.starts_with(&payloads));
        }
    }

    fn lines(&mut self, alter: impl FnOnce(&mut Vec<Value>)) {
        let content = self.content(&["facts.ndjson"]);
        let text = String::from_utf8(std::mem::take(content)).expect("text");
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        alter(&mut lines);
        *content = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
    }

    /// Changes what line `number` says about its fact.
    fn fact(&mut self, number: usize, change: Value) {
        self.lines(|lines| {
            for (name, value) in change.as_object().expect("an object") {
                lines[number]["fact"][name] = value.clone();
            }
        });
    }

    fn manifest(&mut self, alter: impl FnOnce(&mut Value)) {
        let content = self.content(&["manifest.json"]);
        let mut manifest = serde_json::from_slice(content).expect("JSON");
        alter(&mut manifest);
        *content = manifest.to_string().into_bytes();
    }
}

type Alteration<'a> = (&'a str, Box<dyn Fn(&mut Bundle) + 'a>, Vec<String>);

/// Applies each alteration to the bundle, and checks that both verifiers find it. The words are those with which the
/// program names the position.
async fn assert_found(bundle: &Path, folder: &Path, alterations: Vec<Alteration<'_>>) {
    let genuine = members(bundle);
    for (name, alter, words) in alterations {
        let mut altered = Bundle(genuine.clone());
        alter(&mut altered);
        let path = folder.join("altered.tar.gz");
        write(&path, &altered.0);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = verify_with_key(&path, 1).await;
        assert!(output.output.contains("NOT VERIFIED"), "{name}: {}{}", output.output, output.errors);
        output.failed_with(1, &words);
        let python = verify_with_python(&path, 1).await;
        assert_ne!(python.code, Some(0), "verify.py accepts: {name}");
    }
}

fn word(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

#[tokio::test]
async fn an_alteration_of_all_facts_is_found_at_its_first_position() {
    let installation = Installation::with_events(100).await;
    let bundle = installation.exported("whole.tar.gz", &[]).await;
    let lines = facts(&bundle);
    let number = 40;
    let fact = &lines[number]["fact"];
    let place = vec![
        format!("entry {number}"),
        format!("stream {}", fact["stream"].as_str().unwrap()),
        format!("version {}", fact["sequence"]),
    ];
    let at = |index: usize| vec![format!("entry {index}")];
    let attempted = lines.iter().position(|line| line["fact"]["response"].is_object()).expect("a response");
    let accepted = lines.iter().position(|line| line["fact"]["payload"].is_object()).expect("a payload");
    let event = lines[accepted]["fact"]["stream"].as_str().unwrap().split_once('/').unwrap().1.to_owned();
    let delivered = format!("payloads/{event}.delivered");
    let last = lines.len() - 1;
    let other = "0190c2de-6b1c-7000-8000-000000000001";
    let alterations: Vec<Alteration<'_>> = vec![
        (
            "the text of a fact",
            Box::new(|b| {
                let text = fact["text"].as_str().unwrap().replacen('{', "{ ", 1);
                b.fact(number, json!({ "text": text }));
            }),
            place.clone(),
        ),
        (
            "the metadata of a fact",
            Box::new(|b| {
                let text = fact["metadata"].as_str().unwrap().replacen('{', "{ ", 1);
                b.fact(number, json!({ "metadata": text }));
            }),
            place.clone(),
        ),
        (
            "the time of a fact",
            Box::new(|b| b.fact(number, json!({ "recorded": "2026-01-01T00:00:00.000000Z" }))),
            place.clone(),
        ),
        (
            "the salt of a fact",
            Box::new(|b| b.fact(number, json!({ "salt": lines[number + 1]["fact"]["salt"] }))),
            place,
        ),
        ("the version of a fact", Box::new(|b| b.fact(number, json!({ "sequence": 77 }))), at(number)),
        ("the type of a fact", Box::new(|b| b.fact(number, json!({ "type": "Cancelled" }))), at(number)),
        (
            "the stream of a fact",
            Box::new(|b| b.fact(number, json!({ "stream": format!("WebhookEvent/{other}") }))),
            at(number),
        ),
        ("a line is dropped", Box::new(|b| b.lines(|lines| drop(lines.remove(number)))), at(number)),
        ("the first line is dropped", Box::new(|b| b.lines(|lines| drop(lines.remove(0)))), at(0)),
        ("the last line is dropped", Box::new(|b| b.lines(|lines| drop(lines.pop()))), at(last)),
        (
            "the last line is dropped, and the manifest says so",
            Box::new(|b| {
                b.lines(|lines| drop(lines.pop()));
                b.manifest(|manifest| {
                    manifest["lines"] = json!(last);
                    manifest["logs"][0]["indexes"][1] = json!(last - 1);
                    manifest["selection"] = json!({ "recorded": { "from": null, "to": null } });
                });
            }),
            at(last),
        ),
        (
            "a line is there twice",
            Box::new(|b| b.lines(|lines| lines.insert(number, lines[number].clone()))),
            at(number + 1),
        ),
        ("two lines are swapped", Box::new(|b| b.lines(|lines| lines.swap(number, number + 3))), at(number)),
        (
            "two facts are swapped",
            Box::new(|b| {
                b.lines(|lines| {
                    let other = lines[number + 3]["fact"].take();
                    let first = std::mem::replace(&mut lines[number]["fact"], other);
                    lines[number + 3]["fact"] = first;
                })
            }),
            at(number),
        ),
        (
            "a response",
            Box::new(|b| b.lines(|lines| lines[attempted]["fact"]["response"]["text"] = json!("{}"))),
            at(attempted),
        ),
        (
            "the salt of a response",
            Box::new(|b| {
                b.lines(|lines| {
                    lines[attempted]["fact"]["response"]["salt"] = lines[0]["fact"]["salt"].clone();
                })
            }),
            at(attempted),
        ),
        ("a payload", Box::new(|b| b.flip(&[&delivered], 3)), word(&delivered)),
        (
            "the salt of a payload",
            Box::new(|b| {
                b.lines(|lines| {
                    lines[accepted]["fact"]["payload"]["salt"] = lines[0]["fact"]["salt"].clone();
                })
            }),
            word(&delivered),
        ),
        (
            "a payload is missing",
            Box::new(|b| b.remove(&[&delivered])),
            vec!["must be".to_owned(), delivered.clone()],
        ),
        ("a hash of a full tile", Box::new(|b| b.flip(&["/tile/0/000"], 32 * 200)), word("tile/0/000")),
        ("a full tile is missing", Box::new(|b| b.remove(&["/tile/0/000"])), word("tile/0/000")),
        ("a hash of the right edge", Box::new(|b| b.flip(&["/tile/0/001.p/"], 40)), word("right edge")),
        ("a tile of level 1", Box::new(|b| b.flip(&["/tile/1/000.p/1"], 0)), word("right edge")),
        ("the root of the checkpoint", Box::new(|b| b.flip(&["/checkpoint"], 95)), word("/checkpoint")),
        (
            "the signature of the checkpoint",
            Box::new(|b| {
                let end = b.content(&["/checkpoint"]).len();
                b.flip(&["/checkpoint"], end - 20);
            }),
            word("/checkpoint"),
        ),
        (
            "the proof of the checkpoint",
            Box::new(|b| b.flip(&["installation.tlog-proof"], 50)),
            word("installation.tlog-proof"),
        ),
        (
            "the proof of the checkpoint is missing",
            Box::new(|b| b.remove(&["installation.tlog-proof"])),
            word("installation.tlog-proof"),
        ),
        (
            "the salt of the checkpoint",
            Box::new(|b| {
                b.manifest(|manifest| {
                    manifest["logs"][0]["checkpointSalt"] = lines[0]["fact"]["salt"].clone();
                })
            }),
            word("installation.tlog-proof"),
        ),
        (
            "the number of lines",
            Box::new(|b| b.manifest(|manifest| manifest["lines"] = json!(last))),
            word("facts.ndjson"),
        ),
        (
            "the claimed entries",
            Box::new(|b| b.manifest(|manifest| manifest["logs"][0]["indexes"][0] = json!(1))),
            at(1),
        ),
        (
            "invalid UTF-8",
            Box::new(|b| b.content(&["facts.ndjson"])[100] = 0xff),
            word("facts.ndjson, line 1"),
        ),
    ];
    assert_found(&bundle, installation.folder.path(), alterations).await;

    // The script does not compare the tenant of each fact with the manifest.
    let mut altered = Bundle(members(&bundle));
    altered.manifest(|manifest| manifest["tenant"] = json!(other));
    let path = installation.path("altered.tar.gz");
    write(&path, &altered.0);
    verify_with_key(&path, 1).await.failed_with(1, &["entry 0", "another tenant"]);

    // A key of the same name that has not signed, as an old one.
    for failed in [verify_with_key(&bundle, 2).await, verify_with_python(&bundle, 2).await] {
        failed.failed_with(1, &["signed"]);
    }
    installation.stop().await;
}

#[tokio::test]
async fn an_alteration_of_the_facts_of_an_event_or_of_a_time_is_found() {
    let installation = Installation::with_events(100).await;
    let bundle = installation.exported("event.tar.gz", &["--event", &installation.events[0]]).await;
    let lines = facts(&bundle);
    let at = |number: usize| vec![format!("entry {}", lines[number]["index"])];
    let alterations: Vec<Alteration<'_>> = vec![
        ("the first fact is missing", Box::new(|b| b.lines(|lines| drop(lines.remove(0)))), at(1)),
        ("a fact in the middle is missing", Box::new(|b| b.lines(|lines| drop(lines.remove(1)))), at(2)),
        ("the received payload", Box::new(|b| b.flip(&[".received"], 5)), word(".received")),
        ("the received payload is missing", Box::new(|b| b.remove(&[".received"])), word(".received")),
    ];
    assert_found(&bundle, installation.folder.path(), alterations).await;
    // The script reads no single proofs: it reads the tiles.
    for (alter, words) in [
        (Box::new(|b: &mut Bundle| b.flip(&["proofs/"], 60)) as Box<dyn Fn(&mut Bundle)>, "proofs/"),
        (Box::new(|b: &mut Bundle| b.remove(&["proofs/"])), "proofs/"),
    ] {
        let mut altered = Bundle(members(&bundle));
        alter(&mut altered);
        let path = installation.path("altered.tar.gz");
        write(&path, &altered.0);
        verify_with_key(&path, 1).await.failed_with(1, &[words]);
    }

    // A bundle of a time that was cut at its ends does not have the facts before and after the time.
    let whole = facts(&installation.exported("whole.tar.gz", &[]).await);
    let time = |number: usize| whole[number]["fact"]["recorded"].as_str().unwrap().to_owned();
    let bundle = installation.exported("time.tar.gz", &["--from", &time(150), "--to", &time(200)]).await;
    let indexes: Vec<u64> = facts(&bundle).iter().map(|line| line["index"].as_u64().unwrap()).collect();
    let (first, last) = (indexes[0], *indexes.last().unwrap());
    for (cut_first, missing) in [(true, first), (false, last)] {
        let mut altered = Bundle(members(&bundle));
        let mut cut = Value::Null;
        altered.lines(|lines| cut = if cut_first { lines.remove(0) } else { lines.pop().unwrap() });
        altered.remove_payloads_of(&cut);
        altered.manifest(|manifest| {
            manifest["lines"] = json!(indexes.len() - 1);
            let claimed = if cut_first { json!([first + 1, last]) } else { json!([first, last - 1]) };
            manifest["logs"][0]["indexes"] = claimed;
        });
        let path = installation.path("cut.tar.gz");
        write(&path, &altered.0);
        verify_with_key(&path, 1).await.failed_with(1, &[&format!("entry {missing}"), "missing"]);
    }
    installation.stop().await;
}
