//! Names and labels.

use aggregates::text::{NAME_CHARS_MAX, TextProblem, label, name};

#[test]
fn a_name_is_trimmed_and_must_not_be_blank() {
    assert_eq!(name("  Acme Inc ", NAME_CHARS_MAX).as_deref(), Ok("Acme Inc"));
    assert_eq!(name("", NAME_CHARS_MAX), Err(TextProblem::Blank));
    assert_eq!(name(" \t ", NAME_CHARS_MAX), Err(TextProblem::Blank));
}

#[test]
fn a_label_is_not_trimmed_and_may_be_empty() {
    assert_eq!(label(" GitHub ", NAME_CHARS_MAX).as_deref(), Ok(" GitHub "));
    assert_eq!(label("", NAME_CHARS_MAX).as_deref(), Ok(""));
}

#[test]
fn control_characters_are_refused_in_both() {
    for text in ["a\rb", "a\nb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
        assert_eq!(name(text, NAME_CHARS_MAX), Err(TextProblem::ControlCharacter), "{text:?}");
        assert_eq!(label(text, NAME_CHARS_MAX), Err(TextProblem::ControlCharacter), "{text:?}");
    }
}

#[test]
fn length_limits_count_characters_after_trimming() {
    let longest = "é".repeat(5);
    assert_eq!(name(&format!("  {longest}  "), 5), Ok(longest.clone()));
    assert_eq!(name(&format!("{longest}!"), 5), Err(TextProblem::TooLong(5)));
    assert_eq!(label(&longest, 5), Ok(longest.clone()));
    assert_eq!(label(&format!("{longest} "), 5), Err(TextProblem::TooLong(5)));
}
