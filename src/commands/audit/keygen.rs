//! `hooksentry audit keygen`: makes a key that signs the heads of the transparency logs.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use evidence::note::{CosignerKey, KeyName};
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};

use crate::secrets::log_keys::LogKeys;

/// Make a key that signs the heads of the transparency logs, or the key of a witness, and print its public half.
///
/// The keys have the form of Go's sumdb/note: the private one for the setting HOOKSENTRY_EVIDENCE_KEY_FILE, the public
/// one for verifiers.
#[derive(Debug, clap::Args)]
pub struct Keygen {
    /// Name of the installation, such as hooks.example.com: a host name that belongs to you, and a path if you like.
    ///
    /// It is the name of the logs and can never change. A key that replaces another one must have the same name.
    #[arg(value_name = "NAME")]
    pub name: String,

    /// New file for the private key, readable by its owner only. The public key is written to FILE.pub.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Make the key of a witness, for `hooksentry witness`. NAME is that of the witness.
    #[arg(long)]
    pub witness: bool,
}

impl Keygen {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let name: KeyName =
            self.name.parse().map_err(|problem| anyhow::anyhow!("NAME \"{}\" {problem}", self.name))?;
        let (private, public): (Vec<SecretString>, String) = if self.witness {
            let mut seed: [u8; 32] = rand::random();
            let key = CosignerKey::from_seed(name, &seed);
            seed.zeroize();
            (vec![key.to_secret_text().into()], format!("{}\n", key.verifier()))
        } else {
            let keys = LogKeys::generate(name)?;
            let public = keys.verifiers().map(|key| format!("{key}\n")).collect();
            (keys.to_secret_texts().collect(), public)
        };
        for key in private {
            write_private(&self.file, &key)?;
        }
        let mut public_file = self.file.into_os_string();
        public_file.push(".pub");
        write_new(Path::new(&public_file), 0o644, public.as_bytes())?;
        Ok(io::stdout().write_all(public.as_bytes())?)
    }
}

fn write_private(path: &Path, key: &SecretString) -> anyhow::Result<()> {
    let line = SecretString::from(format!("{}\n", key.expose_secret()));
    write_new(path, 0o600, line.expose_secret().as_bytes())
}

/// Writes a file that must not exist.
fn write_new(path: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}
