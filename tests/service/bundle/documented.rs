//! The commands of docs/evidence.md and of the README of a bundle, run as they are written there.

use std::fs;
use std::path::Path;

use evidence::checkpoint::SignedCheckpoint;
use evidence::entries;
use tokio::process::Command;

use super::{Installation, NAME, members, output, signer, vkey};
use crate::harness::process::CommandOutput;

const DOCUMENT: &str = include_str!("../../../docs/evidence.md");
/// Where the packages of Debian and Fedora put the sources of Go's libraries.
const GO_LIBRARIES: &str = "/usr/share/gocode";

/// The first block of code in the document that contains these words.
fn block(language: &str, words: &str) -> &'static str {
    let fence = format!("```{language}\n");
    let blocks = DOCUMENT.split(fence.as_str()).skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
    blocks
        .find(|block| block.contains(words))
        .unwrap_or_else(|| panic!("no block of {language} with {words}"))
}

/// Runs a script, after the variables are set, in a folder.
async fn bash(folder: &Path, variables: &[(&str, &str)], script: &str) -> CommandOutput {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder).env_clear();
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path))).envs(variables.iter().copied());
    output(&mut command).await
}

#[tokio::test]
async fn the_commands_of_the_document_verify_what_they_say() {
    let installation = Installation::with_events(1).await;
    let folder = installation.folder.path();
    let key = vkey(1);
    let base64 = key.rsplit('+').next().expect("a key");

    // The key under the name of the tenant's log.
    let checkpoint = installation.tenant.owner().get("/api/v1/audit/log/checkpoint").await.expect(200).text;
    let signed = SignedCheckpoint::parse(checkpoint.as_bytes()).expect("a checkpoint");
    let origin = signed.checkpoint().origin.clone();
    let script = format!("{}\nvkey {origin} {base64}", block("sh", "vkey()"));
    let said = bash(folder, &[], &script).await.succeeded().output;
    assert_eq!(said.trim_end(), signer(1).verifier().with_name(origin).to_string());

    // Both commitments of a fact.
    let facts = installation.tenant.get(&format!("events/{}/proof", installation.events[0])).await;
    let fact = &facts["items"][0];
    let text = |name: &str| fact[name].as_str().expect("a text");
    for (name, line) in [("fact", "fact     "), ("metadata", "metadata ")] {
        let variables = [("fact", text(name)), ("salt", text("salt"))];
        let said = bash(folder, &variables, block("sh", "openssl dgst")).await.succeeded().output;
        assert!(text("entry").contains(&format!("\n{line}{said}")), "{said} is not in {}", text("entry"));
    }

    // The checkpoint of the installation, and not with another key.
    for (seed, code) in [(1, 0), (2, 1)] {
        let variables = [("base", installation.process.base()), ("vkey", &vkey(seed))];
        let said = bash(folder, &variables, block("sh", "openssl pkeyutl")).await;
        assert_eq!(said.code, Some(code), "{}{}", said.output, said.errors);
    }

    // The example of an entry has the form of entries.
    let form = |entry: &str| -> Vec<String> {
        entry.lines().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    let bundle = installation.tenant.owner().request("GET", "/api/v1/audit/log/tile/entries/000.p/1");
    let bundle = bundle.send().await.expect("an answer").bytes().await.expect("a body");
    let entry = String::from_utf8(entries::decode(&bundle).expect("entries")[0].to_vec()).expect("text");
    assert_eq!(form(block("text", "hooksentry.dev/fact/v1")), form(&entry));
    installation.stop().await;
}

#[tokio::test]
async fn the_lines_of_go_in_the_document_open_a_checkpoint() {
    let installation = Installation::with_events(1).await;
    let url = format!("{}/.well-known/hooksentry-log/checkpoint", installation.process.base());
    let checkpoint =
        crate::harness::client().get(url).send().await.expect("an answer").text().await.expect("text");
    let program = format!(
        "package main\n\nimport (\n\t\"os\"\n\t\"golang.org/x/mod/sumdb/note\"\n)\n\nfunc main() {{\n\
         vkey, checkpoint := os.Args[1], []byte(os.Args[2])\n{}\nif err != nil {{ panic(err) }}\n\
         os.Stdout.WriteString(opened.Text)\n}}\n",
        block("go", "note.Open")
    );
    let folder = installation.folder.path();
    fs::write(folder.join("main.go"), program).expect("a file");
    let open = async |seed: u8| {
        let mut command = Command::new("go");
        command.args(["run", "main.go", &vkey(seed), &checkpoint]).current_dir(folder);
        command
            .env("GOPATH", GO_LIBRARIES)
            .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build"));
        command.envs([
            ("GO111MODULE", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOFLAGS", ""),
            ("CGO_ENABLED", "0"),
        ]);
        output(&mut command).await
    };
    let said = open(1).await.succeeded().output;
    assert!(said.starts_with(&format!("{NAME}\n")) && checkpoint.starts_with(&said), "{said}");
    assert_ne!(open(2).await.code, Some(0));
    installation.stop().await;
}

#[tokio::test]
async fn the_commands_of_the_readme_of_a_bundle_verify_a_checkpoint() {
    let installation = Installation::with_events(1).await;
    let bundle = installation.exported("event.tar.gz", &["--event", &installation.events[0]]).await;
    let members = members(&bundle);
    let content = |part: &str| {
        let member = members.iter().find(|(path, _)| path.contains(part));
        member.unwrap_or_else(|| panic!("no {part}")).1.clone()
    };
    let readme = String::from_utf8(content("README.txt")).expect("text");
    let lines = readme.lines().skip_while(|line| !line.starts_with("    sed "));
    let script: String = lines.take_while(|line| !line.is_empty()).flat_map(|line| [line, "\n"]).collect();
    assert!(script.contains("openssl pkeyutl"), "{script}");
    let folder = installation.folder.path();
    fs::write(folder.join("checkpoint"), content("/checkpoint")).expect("a file");
    for (seed, code) in [(1, 0), (2, 1)] {
        let said = bash(folder, &[("vkey", &vkey(seed))], &script).await;
        assert_eq!(said.code, Some(code), "{}{}", said.output, said.errors);
    }
    installation.stop().await;
}
