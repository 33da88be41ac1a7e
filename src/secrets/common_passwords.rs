//! Passwords that are guessed first.
//!
//! Lists of leaked passwords consist mostly of words, of sequences of keys, and of repetitions, with a few digits. A
//! password is common if little of it is anything else; so a list of words covers their combinations as well.

/// Number of characters besides words, sequences and repetitions that make a password uncommon.
const OWN_CHARS_MIN: usize = 4;
/// Digits that count as none of them: years, and the numbers that rules ask for.
const DIGITS_FREE: usize = 4;
/// Length from which on a sequence or a repetition is one.
const RUN_CHARS_MIN: usize = 3;
/// Characters of a password that are examined.
const EXAMINED_CHARS_MAX: usize = 128;

/// Words that many choose, in lower case, separated by blanks.
const WORDS: &str = "\
    access account admin administrator alexander amanda andrea andrew angel anthony apple ashley august \
    austin autumn baby babygirl bailey banana barcelona baseball basketball batman beautiful biteme blink \
    bubbles buster butterfly changeme charlie cheese chelsea chocolate christmas computer cookie corvette \
    dallas daniel database december default diamond dragon elizabeth family february ferrari flower football \
    forever freedom friday friends ginger google guest hannah harley hello hockey hooksentry hunter iceman \
    iloveyou ilove internet jackson january jasmine jennifer jessica jesus jordan joshua justin killer \
    letmein liverpool login london love lovely madison maggie master matrix matthew maverick mercedes merlin \
    michael michelle monday money monkey mustang mypass naruto nicole ninja november october orange pass \
    passw password patrick peanut pepper phoenix pokemon princess purple qazwsx qwer rainbow ranger richard \
    robert root samantha samsung sarah saturday scooter secret september server shadow silver slipknot \
    snoopy soccer spiderman spring starwars startrek steelers summer sunday sunshine superman system test \
    testing thomas thunder thursday tigger trustno tuesday user victoria webhook wednesday welcome william \
    winter yankees yellow yourname";

/// Keys in a row, as they are typed along a keyboard.
const ROWS: &[&str] = &[
    "01234567890",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
    "1q2w3e4r5t6y7u8i9o0p",
    "qweasdzxc",
    "!@#$%^&*()",
];

/// Returns whether a password consists, but for a few characters, of what is guessed first.
pub(super) fn is_common(password: &str) -> bool {
    let lower = |character: char| character.to_lowercase().next().unwrap_or(character);
    let text: Vec<char> = password.chars().take(EXAMINED_CHARS_MAX).map(lower).collect();
    own_chars(&text) < OWN_CHARS_MIN
}

/// Returns the letter that a digit or sign is written for.
fn letter_for(character: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

/// Counts the characters that belong to no word, sequence or repetition.
fn own_chars(text: &[char]) -> usize {
    let (mut own, mut digits, mut at) = (0, 0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        let known = word(rest).max(run(rest)).max(repetition(text, at));
        if known == 0 {
            match rest[0].is_ascii_digit() {
                true => digits += 1,
                false => own += 1,
            }
        }
        at += known.max(1);
    }
    own + digits.saturating_sub(DIGITS_FREE)
}

/// Returns the length of the longest word that `rest` begins with, also with digits and signs in place of letters.
fn word(rest: &[char]) -> usize {
    let is_letter = |(typed, letter): (&char, char)| *typed == letter || letter_for(*typed) == letter;
    let begins = |word: &&str| rest.len() >= word.len() && rest.iter().zip(word.chars()).all(is_letter);
    WORDS.split(' ').filter(begins).map(str::len).max().unwrap_or(0)
}

/// Returns the length of the sequence of keys that `rest` begins with, in either direction; 0 if it is short.
fn run(rest: &[char]) -> usize {
    let common = |row: Vec<char>| {
        let starts = row.iter().enumerate().filter(|(_, key)| **key == rest[0]).map(|(start, _)| start);
        starts.map(|start| common_prefix(rest, &row[start..])).max().unwrap_or(0)
    };
    let longest = |row: &&str| common(row.chars().collect()).max(common(row.chars().rev().collect()));
    ROWS.iter().map(longest).max().filter(|length| *length >= RUN_CHARS_MIN).unwrap_or(0)
}

/// Returns how much of the text from `at` on repeats what precedes it; 0 if it is little.
fn repetition(text: &[char], at: usize) -> usize {
    let longest = (0..at).map(|from| common_prefix(&text[at..], &text[from..])).max().unwrap_or(0);
    if longest >= RUN_CHARS_MIN { longest } else { 0 }
}

fn common_prefix(one: &[char], other: &[char]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guessed_first_is_common() {
        for password in [
            "password1234",
            "Password2024!",
            "P@ssw0rd12345",
            "passwordpassword",
            "123456789012",
            "qwertyuiop12",
            "1q2w3e4r5t6y",
            "aaaaaaaaaaaa",
            "abcabcabcabc",
            "administrator",
            "iloveyou1234",
            "zxcvbnm123456",
            "welcome2hooksentry",
            "098765432109",
            "qwerty123456",
            "Summer2025!!",
            "letmeinletmein",
            "xyxyxyxyxyxy",
            "1qaz2wsx3edc",
            "hunter2hunter2",
            "\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}\u{1f600}",
        ] {
            assert!(is_common(password), "{password}");
        }
    }

    #[test]
    fn words_of_one_s_own_are_not() {
        for password in [
            "correct horse battery staple",
            "a password of the tests",
            "something new",
            "tr0ub4dor&3xyq",
            "kobZ7-wuqPe-4nmTr",
            "9f8e7d6c5b4a39281706",
            "olive-gecko-plays-tuba",
            "\u{6b63}\u{78ba}\u{99ac}\u{96fb}",
        ] {
            assert!(!is_common(password), "{password}");
        }
    }

    #[test]
    fn words_are_in_lower_case_and_once_in_the_list() {
        let words: Vec<&str> = WORDS.split(' ').collect();
        let distinct: std::collections::BTreeSet<_> = words.iter().collect();
        assert_eq!(distinct.len(), words.len());
        assert!(
            words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        );
    }
}
