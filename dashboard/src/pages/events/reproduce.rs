//! Commands that send an event to its destination by hand, as HookSentry does.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::text::foreign::has_hidden;

/// Payloads are at most so long, in bytes, because they are part of a command.
const PAYLOAD_BYTES_MAX: usize = 32 * 1024;

/// Returns shell commands that send a payload to a URL with its signature. The secret is in `$WEBHOOK_SECRET`. `None`: the
/// payload is too long for a command.
pub(super) fn commands(id: Uuid, url: &str, payload: &str) -> Option<String> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return None;
    }
    // What cannot be seen would be copied unseen.
    let body = if has_hidden(payload) {
        format!("printf %s '{}' | base64 -d", STANDARD.encode(payload))
    } else {
        format!("printf %s {}", quoted(payload))
    };
    Some(format!(
        "{body} >webhook.json\n\
         curl -i {} \\\n  \
         -H 'Content-Type: application/json' \\\n  \
         -H 'X-HookSentry-Event-Id: {id}' \\\n  \
         -H \"X-HookSentry-Signature: sha256=$(openssl dgst -sha256 -hmac \"$WEBHOOK_SECRET\" -r webhook.json | cut -d' ' -f1)\" \\\n  \
         --data-binary @webhook.json",
        quoted(url)
    ))
}

/// Returns any text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs the first command, and returns what it writes.
    fn written(payload: &str) -> String {
        let commands = commands(Uuid::nil(), "https://receiver.example.com/", payload).unwrap();
        let (first, _) = commands.split_once(" >webhook.json\n").unwrap();
        let output = Command::new("sh").args(["-c", first]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_shell_writes_the_payload_as_it_is() {
        for payload in [
            r#"{"a":"it's $HOME `id` \\ % %s \n"}"#,
            "{\"a\":1}\n\n",
            "{\"a\":\"';touch /tmp/no;'\"}",
            "{\"bidi\":\"\u{202e}x\u{200b}\"}\r\n",
        ] {
            assert_eq!(written(payload), payload);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_encoded() {
        let commands = commands(Uuid::nil(), "https://receiver.example.com/", "\"\u{202e}\"").unwrap();
        assert!(commands.starts_with("printf %s 'IuKAriI=' | base64 -d"), "{commands}");
    }

    #[test]
    fn a_long_payload_is_no_command() {
        let payload = "x".repeat(PAYLOAD_BYTES_MAX + 1);
        assert_eq!(super::commands(Uuid::nil(), "https://receiver.example.com/", &payload), None);
    }
}
