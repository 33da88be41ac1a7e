//! Email addresses: valid texts and the normalised form.

use aggregates::email::{EMAIL_CHARS_MAX, Email, EmailProblem};

#[test]
fn an_email_is_trimmed_and_in_lower_case() {
    for (typed, kept) in [
        ("alice@example.com", "alice@example.com"),
        (" \tAlice@Example.COM\n", "alice@example.com"),
        ("ÄLICE@EXÄMPLE.DE", "älice@exämple.de"),
        ("a@b", "a@b"),
        ("alice+hooks@sub.example.com", "alice+hooks@sub.example.com"),
        ("\"very@odd\"@example.com", "\"very@odd\"@example.com"),
    ] {
        let email = Email::parse(typed).expect(typed);
        assert_eq!(email.as_str(), kept);
        assert_eq!(email.to_string(), kept);
    }
}

#[test]
fn other_texts_are_refused_with_the_reason() {
    for (typed, problem) in [
        ("", EmailProblem::Blank),
        (" \n ", EmailProblem::Blank),
        ("alice", EmailProblem::Malformed),
        ("@example.com", EmailProblem::Malformed),
        ("alice@", EmailProblem::Malformed),
        ("@", EmailProblem::Malformed),
        ("alice@example.com\r\nBcc: bob@example.com", EmailProblem::ControlCharacter),
        ("ali\0ce@example.com", EmailProblem::ControlCharacter),
    ] {
        assert_eq!(Email::parse(typed), Err(problem), "{typed:?}");
    }
}

#[test]
fn the_length_limit_counts_characters_not_bytes() {
    let domain = "@example.com";
    let longest = format!("{}{domain}", "é".repeat(EMAIL_CHARS_MAX - domain.len()));
    assert!(longest.len() > EMAIL_CHARS_MAX);
    assert!(Email::parse(&longest).is_ok());
    assert_eq!(Email::parse(&format!("a{longest}")), Err(EmailProblem::TooLong));
}
