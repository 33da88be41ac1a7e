//! Where the signing keys come from: a setting, or a file that is read before each sealing.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret, SecretString};

use crate::config::EvidenceSettings;
use crate::secrets::log_keys::LogKeys;

/// Maximum size of the file, in bytes. A key has some hundred.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Source of the signing keys. Clones share what was logged last.
#[derive(Clone, Debug)]
pub(super) struct KeySource {
    given: Option<LogKeys>,
    file: Option<PathBuf>,
    /// What was logged last; `None`: there were keys.
    logged: Arc<Mutex<Option<String>>>,
}

impl KeySource {
    pub(super) fn new(settings: &EvidenceSettings) -> Self {
        let EvidenceSettings { evidence_key, evidence_key_file, .. } = settings;
        Self { given: evidence_key.clone(), file: evidence_key_file.clone(), logged: Arc::default() }
    }

    /// Returns the keys. If there are none, logs the reason once.
    pub(super) async fn read(&self) -> Option<LogKeys> {
        let read = match (&self.given, &self.file) {
            (Some(keys), _) => Ok(keys.clone()),
            (None, Some(file)) => read(file).await,
            (None, None) => {
                Err("HOOKSENTRY_EVIDENCE_KEY_FILE and HOOKSENTRY_EVIDENCE_KEY are not set".to_owned())
            }
        };
        match read {
            Ok(keys) => Some(keys),
            Err(reason) => {
                self.refuse(reason);
                None
            }
        }
    }

    /// Logs that nothing is signed, unless it was logged last for the same reason.
    pub(super) fn refuse(&self, reason: String) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.as_ref() != Some(&reason) {
            tracing::warn!(
                reason,
                "the heads of the transparency logs are not signed: `hooksentry audit keygen` makes a key"
            );
            *logged = Some(reason);
        }
    }

    /// Logs that there are keys, unless it was logged last.
    pub(super) fn accept(&self) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.take().is_some() {
            tracing::info!("the heads of the transparency logs are signed again");
        }
    }
}

async fn read(file: &PathBuf) -> Result<LogKeys, String> {
    let unreadable = |problem: &dyn std::fmt::Display| {
        format!("the keys in HOOKSENTRY_EVIDENCE_KEY_FILE, {}, cannot be read: {problem}", file.display())
    };
    let size = tokio::fs::metadata(file).await.map_err(|error| unreadable(&error))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(&format_args!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(|error| unreadable(&error))?;
    let text = SecretString::from(text);
    text.expose_secret().parse().map_err(|problem| unreadable(&problem))
}
