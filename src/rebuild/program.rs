//! Identifies this program. An unfinished rebuild is resumed only by the program that began it: another program may
//! fold differently, which may be the reason for the rebuild.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::RebuildFailure;

/// Returns the SHA-256 digest of the program's file, in hex.
pub(super) async fn digest() -> Result<String, RebuildFailure> {
    let digested = tokio::task::spawn_blocking(of_own_file).await.map_err(io::Error::other);
    digested.and_then(|digest| digest).map_err(RebuildFailure::Program)
}

fn of_own_file() -> io::Result<String> {
    // On Linux /proc/self/exe is the running program, even if its path has a newer one by now.
    let own = File::open("/proc/self/exe").or_else(|_| File::open(std::env::current_exe()?));
    let mut file = own?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            read => digest.update(&buffer[..read]),
        }
    }
}
