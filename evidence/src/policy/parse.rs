//! Parsing of policy files.

use std::collections::HashMap;

use thiserror::Error;

use super::{Group, Member, Policy, Witness};
use crate::decimal;
use crate::note::{KeyError, KeyType, VerifierKey};

/// Maximum length of a policy file, in bytes.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;

/// What is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyProblem {
    #[error("a policy has at most {POLICY_BYTES_MAX} bytes")]
    Length,
    #[error("only tabs and line feeds are allowed as control characters")]
    ControlCharacter,
    #[error("a line must begin with `log`, `witness`, `group` or `quorum`")]
    Keyword,
    #[error("the line must be `{0}`")]
    Items(&'static str),
    #[error("the key is no vkey: {0}")]
    Key(#[from] KeyError),
    #[error("the key of a log must have type 0x01, and that of a witness type 0x04")]
    KeyType,
    #[error("the same key is on a line before this one")]
    DuplicateKey,
    #[error("the name is defined on a line before this one, or is `none`")]
    DuplicateName,
    #[error("`{0}` is defined on no line before this one")]
    UnknownName(String),
    #[error("`{0}` is a member of a group already")]
    SecondGroup(String),
    #[error("the threshold must be `all`, `any`, or a number from 1 to that of the members")]
    Threshold,
    #[error("there must be exactly one `quorum` line")]
    Quorum,
}

/// Reason why a policy file is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct PolicyError {
    /// From 1. If the `quorum` line is missing, the number of the line after the last.
    pub line: usize,
    pub problem: PolicyProblem,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Policy, PolicyError> {
    if bytes.len() > POLICY_BYTES_MAX {
        return Err(PolicyError { line: 1, problem: PolicyProblem::Length });
    }
    let mut parser = Parser::default();
    let mut last = 0;
    for (line, text) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        parser.line(text).map_err(|problem| PolicyError { line, problem })?;
        last = line;
    }
    match parser.quorum {
        Some(quorum) => Ok(Policy { quorum, ..parser.policy }),
        None => Err(PolicyError { line: last + 1, problem: PolicyProblem::Quorum }),
    }
}

#[derive(Default)]
struct Parser<'a> {
    policy: Policy,
    names: HashMap<&'a [u8], Name>,
    /// The inner `None` is the quorum `none`.
    quorum: Option<Option<Member>>,
}

struct Name {
    member: Member,
    in_group: bool,
}

impl<'a> Parser<'a> {
    fn line(&mut self, line: &'a [u8]) -> Result<(), PolicyProblem> {
        if line.iter().any(|byte| *byte != b'\t' && byte.is_ascii_control()) {
            return Err(PolicyProblem::ControlCharacter);
        }
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        let items: Vec<&[u8]> = line.split(is_space).filter(|item| !item.is_empty()).collect();
        match items.as_slice() {
            [] => Ok(()),
            [keyword, ..] if keyword.starts_with(b"#") => Ok(()),
            [b"log", items @ ..] => self.log(items),
            [b"witness", items @ ..] => self.witness(items),
            [b"group", items @ ..] => self.group(items),
            [b"quorum", items @ ..] => self.quorum(items),
            _ => Err(PolicyProblem::Keyword),
        }
    }

    fn log(&mut self, items: &[&[u8]]) -> Result<(), PolicyProblem> {
        let ([vkey] | [vkey, _]) = items else { return Err(PolicyProblem::Items("log <vkey> [<url>]")) };
        let key = parse_key(vkey, KeyType::Note)?;
        if self.policy.logs.iter().any(|known| known.public_key() == key.public_key()) {
            return Err(PolicyProblem::DuplicateKey);
        }
        self.policy.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, items: &[&'a [u8]]) -> Result<(), PolicyProblem> {
        let ([name, vkey] | [name, vkey, _]) = items else {
            return Err(PolicyProblem::Items("witness <name> <vkey> [<url>]"));
        };
        let key = parse_key(vkey, KeyType::Cosignature)?;
        if self.policy.witnesses.iter().any(|known| known.key.public_key() == key.public_key()) {
            return Err(PolicyProblem::DuplicateKey);
        }
        self.define(name, Member::Witness(self.policy.witnesses.len()))?;
        let url = items.get(2).map(|url| url.to_vec());
        self.policy.witnesses.push(Witness { name: name.to_vec(), key, url });
        Ok(())
    }

    fn group(&mut self, items: &[&'a [u8]]) -> Result<(), PolicyProblem> {
        let [name, threshold, members @ ..] = items else {
            return Err(PolicyProblem::Items("group <name> all|any|<number> <name>..."));
        };
        let threshold = match *threshold {
            b"all" => Some(members.len()),
            b"any" => Some(1),
            number => std::str::from_utf8(number)
                .ok()
                .and_then(decimal::parse)
                .and_then(|number| usize::try_from(number).ok()),
        };
        let threshold = threshold.filter(|number| (1..=members.len()).contains(number));
        let threshold = threshold.ok_or(PolicyProblem::Threshold)?;
        let members = members.iter().map(|name| self.take_member(name)).collect::<Result<_, _>>()?;
        self.define(name, Member::Group(self.policy.groups.len()))?;
        self.policy.groups.push(Group { threshold, members });
        Ok(())
    }

    fn quorum(&mut self, items: &[&[u8]]) -> Result<(), PolicyProblem> {
        let [name] = items else { return Err(PolicyProblem::Items("quorum <name>")) };
        if self.quorum.is_some() {
            return Err(PolicyProblem::Quorum);
        }
        let quorum = if *name == b"none" { None } else { Some(self.name(name)?.member) };
        self.quorum = Some(quorum);
        Ok(())
    }

    fn define(&mut self, name: &'a [u8], member: Member) -> Result<(), PolicyProblem> {
        if name == b"none" || self.names.contains_key(name) {
            return Err(PolicyProblem::DuplicateName);
        }
        self.names.insert(name, Name { member, in_group: false });
        Ok(())
    }

    fn name(&mut self, name: &[u8]) -> Result<&mut Name, PolicyProblem> {
        self.names.get_mut(name).ok_or_else(|| PolicyProblem::UnknownName(readable(name)))
    }

    /// A witness counts in one group only, so that it cannot contribute twice.
    fn take_member(&mut self, name: &[u8]) -> Result<Member, PolicyProblem> {
        let known = self.name(name)?;
        if std::mem::replace(&mut known.in_group, true) {
            return Err(PolicyProblem::SecondGroup(readable(name)));
        }
        Ok(known.member)
    }
}

fn readable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn parse_key(vkey: &[u8], key_type: KeyType) -> Result<VerifierKey, PolicyProblem> {
    let vkey = std::str::from_utf8(vkey).map_err(|_| KeyError::Parts)?;
    let key: VerifierKey = vkey.parse()?;
    if key.key_type() == key_type { Ok(key) } else { Err(PolicyProblem::KeyType) }
}
