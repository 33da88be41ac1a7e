//! State of the demonstration that is kept from one start to the next: `demo.json` in the data folder.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Tenant, password of its owner, and tokens, all in plain text: they are for demonstrations only.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DemoState {
    #[serde(skip)]
    path: PathBuf,
    pub(super) tenant_name: String,
    pub(super) email: String,
    pub(super) password: String,
    /// `None` until the tenant is registered.
    pub(super) tenant_id: Option<Uuid>,
    pub(super) api_key: Option<String>,
    pub(super) working: Option<DemoDestination>,
    pub(super) failing: Option<DemoDestination>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DemoDestination {
    pub(super) id: Uuid,
    pub(super) ingest_token: String,
    /// Port of its receiver.
    pub(super) port: u16,
}

impl DemoState {
    /// Reads the state in `folder`, or creates one for a new tenant if there is none.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("demo.json");
        match fs::read(&path) {
            Ok(text) => {
                let state: Self = serde_json::from_slice(&text).with_context(|| {
                    format!("{} cannot be parsed; remove it to start with a new tenant", path.display())
                })?;
                Ok(Self { path, ..state })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::new(path, "")),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }

    /// Replaces the state by that of a new tenant with a random name.
    pub(super) fn reset(&mut self) {
        let suffix: [u8; 3] = rand::random();
        *self = Self::new(std::mem::take(&mut self.path), &format!("-{}", hex::encode(suffix)));
    }

    fn new(path: PathBuf, suffix: &str) -> Self {
        Self {
            path,
            tenant_name: format!("demo{suffix}"),
            email: format!("demo{suffix}@example.com"),
            password: hex::encode(rand::random::<[u8; 8]>()),
            ..Self::default()
        }
    }

    /// Replaces the file atomically, with a mode that lets only its owner read it.
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
