//! What the demonstration remembers from one start to the next.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A tenant, its owner's password and its tokens. For demonstrations only: they are in the clear.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kept {
    #[serde(skip)]
    path: PathBuf,
    pub(super) tenant_name: String,
    pub(super) email: String,
    pub(super) password: String,
    pub(super) tenant_id: Option<String>,
    pub(super) api_key: Option<String>,
    pub(super) working: Option<KeptDestination>,
    pub(super) failing: Option<KeptDestination>,
}

/// A destination and the port of its receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct KeptDestination {
    pub(super) id: String,
    pub(super) ingest_token: String,
    pub(super) port: u16,
}

impl Kept {
    /// What was kept in `folder`, or the plan of a new tenant.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("demo.json");
        match fs::read(&path) {
            Ok(text) => {
                let kept: Self = serde_json::from_slice(&text)
                    .with_context(|| format!("{} cannot be read: remove it to begin anew", path.display()))?;
                Ok(Self { path, ..kept })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::anew(path, "")),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Forgets everything, for another tenant.
    pub(super) fn begin_anew(&mut self) {
        let suffix: [u8; 3] = rand::random();
        *self = Self::anew(std::mem::take(&mut self.path), &format!("-{}", hex::encode(suffix)));
    }

    fn anew(path: PathBuf, suffix: &str) -> Self {
        Self {
            path,
            tenant_name: format!("demo{suffix}"),
            email: format!("demo{suffix}@example.com"),
            password: hex::encode(rand::random::<[u8; 8]>()),
            ..Self::default()
        }
    }

    /// Writes it, readable for its owner only, whole or not at all.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let write = || -> io::Result<()> {
            let unfinished = self.path.with_extension("unfinished");
            let mut file =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)
        };
        write().with_context(|| format!("{} cannot be written", self.path.display()))
    }
}
