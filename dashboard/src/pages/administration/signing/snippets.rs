//! How receivers verify a signature, with the standard library of their language alone.

/// Code of one language. It reads the body from the standard input and takes the secret and the value of
/// `X-HookSentry-Signature` as arguments, so that a test can run it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snippet {
    pub(super) language: &'static str,
    pub(super) id: &'static str,
    pub(super) code: &'static str,
}

pub(super) const SNIPPETS: [Snippet; 5] = [
    Snippet { language: "Python", id: "python", code: include_str!("snippets/verify.py") },
    Snippet { language: "Node.js", id: "node", code: include_str!("snippets/verify.mjs") },
    Snippet { language: "Go", id: "go", code: include_str!("snippets/verify.go") },
    Snippet { language: "Ruby", id: "ruby", code: include_str!("snippets/verify.rb") },
    Snippet { language: "PHP", id: "php", code: include_str!("snippets/verify.php") },
];

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    const BODY: &str = "{\"a\":1}";
    const SECRET: &str = "whsec_test";
    const SIGNATURE: &str = "sha256=51426af50a41dd7ff2cd3f116594734766d4018d15d6fb07169aee5d2959adf5";

    /// Returns whether a program accepts a body; `None`: its interpreter is missing here.
    fn accepts(program: &[&str], file: &str, body: &str, signature: &str) -> Option<bool> {
        let path = format!("{}/src/pages/administration/signing/snippets/{file}", env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).args([&path, SECRET, signature]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
        child.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("a program that reads");
        let output = child.wait_with_output().expect("our child");
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        assert!(output.status.success() && ["true", "false"].contains(&said.as_str()), "{file}: {output:?}");
        Some(said == "true")
    }

    #[test]
    fn the_snippets_accept_what_was_signed_and_nothing_else() {
        let mut tried = vec![];
        for (program, file) in [
            (&["python3"][..], "verify.py"),
            (&["node"], "verify.mjs"),
            (&["go", "run"], "verify.go"),
            (&["ruby"], "verify.rb"),
            (&["php"], "verify.php"),
        ] {
            let Some(accepted) = accepts(program, file, BODY, SIGNATURE) else { continue };
            assert!(accepted, "{file}");
            for (body, signature) in [
                ("{\"a\":2}", SIGNATURE),
                ("", SIGNATURE),
                (BODY, ""),
                (BODY, &SIGNATURE[7..]),
                (BODY, "sha256="),
                (BODY, "sha256=\u{e4}"),
            ] {
                assert_eq!(accepts(program, file, body, signature), Some(false), "{file} {signature}");
            }
            tried.push(file);
        }
        // `make setup` installs these three.
        assert!(tried.starts_with(&["verify.py", "verify.mjs", "verify.go"]), "{tried:?}");
    }
}
