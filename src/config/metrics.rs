//! Access to the metrics.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::values::ValueProblem;

const CHARS_MIN: usize = 16;

/// Token of those who may read the metrics. It is not printed.
#[derive(Clone, Debug)]
pub struct MetricsToken(SecretString);

/// Who may read the metrics at an address.
#[derive(Clone, Debug)]
pub enum MetricsAccess {
    Open,
    WithToken(MetricsToken),
    /// They are not served there.
    Hidden,
}

impl MetricsToken {
    pub(crate) fn equals(&self, given: &str) -> bool {
        self.0.expose_secret().as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl FromStr for MetricsToken {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() < CHARS_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ValueProblem(format!(
                "must be at least {CHARS_MIN} ASCII characters without spaces"
            )));
        }
        Ok(Self(text.to_owned().into()))
    }
}
