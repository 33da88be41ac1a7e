//! Which program this is. A half-built generation is gone on with only by the program that began it: what
//! another one folded, it may have folded otherwise, and that may be why a rebuild is wanted.

use std::fs::File;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

use super::RebuildFailure;

/// The digest of the program's file, in hex.
pub(super) async fn digest() -> Result<String, RebuildFailure> {
    let digested = tokio::task::spawn_blocking(of_own_file).await.map_err(io::Error::other);
    digested.and_then(|digest| digest).map_err(RebuildFailure::Program)
}

fn of_own_file() -> io::Result<String> {
    // The path may lead to a newer program by now; on Linux this leads to the one that runs.
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
