//! Reader of the fields of a `credentials` object; collects the problems of all fields.

use serde_json::{Map, Value};
use thiserror::Error;

use super::is_reserved_header;
use crate::destination_url::{DestinationUrl, DestinationUrlProblem};
use crate::target_rules::TargetRules;

/// Problem of one field of the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field} {problem}")]
pub struct CredentialsProblem {
    /// Path of the field in the request body.
    pub field: &'static str,
    pub problem: FieldProblem,
}

/// Rule that a field breaks, worded to follow the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldProblem {
    #[error("must be an object")]
    NotAnObject,
    /// The field is absent, null or blank.
    #[error("is required")]
    Missing,
    #[error("must be a string")]
    NotAString,
    #[error("must be at most {0} characters")]
    TooLong(usize),
    /// The character could end the header in which the value is sent.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// HTTP allows more characters in header names, but some servers drop such headers.
    #[error("may only contain letters, digits, hyphens and underscores")]
    NotAHeaderName,
    #[error("must not be a header that the delivery itself sets")]
    ReservedHeader,
    /// In Basic authentication, a colon ends the user name.
    #[error("must not contain a colon")]
    Colon,
    #[error("{0}")]
    Url(DestinationUrlProblem),
    #[error("must be ApiKey, BearerToken, JwtBearer or BasicAuth")]
    UnknownAuthType,
}

/// Object to be read, and the problems found so far.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    pub(super) problems: Vec<CredentialsProblem>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(object: &'a Map<String, Value>) -> Self {
        Self { object, problems: Vec::new() }
    }

    fn refuse(&mut self, field: &'static str, problem: FieldProblem) {
        self.problems.push(CredentialsProblem { field, problem });
    }

    /// Returns the value of a field; `None` if it is absent, null, blank or not a string. Names match in any ASCII
    /// case, as everywhere in the API.
    fn text(&mut self, field: &'static str) -> Option<String> {
        let name = field.rsplit('.').next().unwrap_or(field);
        let value =
            self.object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        match value {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.refuse(field, FieldProblem::NotAString);
                None
            }
        }
    }

    fn bounded(&mut self, field: &'static str, text: String, length_max: usize) -> String {
        if text.chars().count() > length_max {
            self.refuse(field, FieldProblem::TooLong(length_max));
        }
        if text.contains(['\r', '\n', '\0']) {
            self.refuse(field, FieldProblem::ControlCharacter);
        }
        text
    }

    pub(super) fn optional(&mut self, field: &'static str, length_max: usize) -> Option<String> {
        let text = self.text(field)?;
        Some(self.bounded(field, text, length_max))
    }

    /// Returns the value of a field. With a problem it is empty, but then the caller discards it.
    pub(super) fn required(&mut self, field: &'static str, length_max: usize) -> String {
        let problems_before = self.problems.len();
        match self.optional(field, length_max) {
            Some(text) => text,
            None => {
                if self.problems.len() == problems_before {
                    self.refuse(field, FieldProblem::Missing);
                }
                String::new()
            }
        }
    }

    /// Like `required`, but without any control character, since HTTP forbids them in headers.
    pub(super) fn header_value(&mut self, field: &'static str, length_max: usize) -> String {
        let problems_before = self.problems.len();
        let text = self.required(field, length_max);
        if self.problems.len() == problems_before && text.chars().any(char::is_control) {
            self.refuse(field, FieldProblem::ControlCharacter);
        }
        text
    }

    pub(super) fn header_name(&mut self) -> String {
        let field = "credentials.headerName";
        let problems_before = self.problems.len();
        let name = self.required(field, 100);
        if self.problems.len() == problems_before {
            if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
                self.refuse(field, FieldProblem::NotAHeaderName);
            } else if is_reserved_header(&name) {
                self.refuse(field, FieldProblem::ReservedHeader);
            }
        }
        name
    }

    pub(super) fn username(&mut self) -> String {
        let field = "credentials.username";
        let name = self.required(field, 512);
        if name.contains(':') {
            self.refuse(field, FieldProblem::Colon);
        }
        name
    }

    /// Returns a URL; `rules` are `None` if it was checked when it was entered.
    pub(super) fn url(&mut self, field: &'static str, rules: Option<&TargetRules>) -> Option<DestinationUrl> {
        let problems_before = self.problems.len();
        let Some(text) = self.text(field) else {
            if self.problems.len() == problems_before {
                self.refuse(field, FieldProblem::Missing);
            }
            return None;
        };
        let parsed = match rules {
            Some(rules) => DestinationUrl::parse(&text, rules),
            None => DestinationUrl::read(&text),
        };
        match parsed {
            Ok(url) => Some(url),
            Err(problem) => {
                self.refuse(field, FieldProblem::Url(problem));
                None
            }
        }
    }
}
