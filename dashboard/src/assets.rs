//! Style sheet, scripts and icon: files in the binary.
//!
//! Their URLs contain their hashes, so browsers keep them permanently. They are compressed once, at the first request.
//! `assets/vendored.txt` lists the files of others with their hashes; a test compares them.

use std::collections::HashMap;
use std::io::Write;
use std::sync::LazyLock;

use axum::extract::{Path, Request};
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use crate::web::error::PageError;

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
/// Hex characters of a hash in a URL.
const HASH_CHARS: usize = 16;

const FILES: &[(&str, &str, &[u8])] = &[
    ("dashboard.css", CSS, include_bytes!("../assets/dashboard.css")),
    ("dashboard.js", JAVASCRIPT, include_bytes!("../assets/dashboard.js")),
    ("htmx.min.js", JAVASCRIPT, include_bytes!("../assets/htmx.min.js")),
    ("icon.svg", SVG, include_bytes!("../assets/icon.svg")),
];

/// All assets.
#[derive(Debug)]
pub(crate) struct Assets(HashMap<&'static str, Asset>);

#[derive(Debug)]
struct Asset {
    url: String,
    hash: String,
    media_type: &'static str,
    plain: &'static [u8],
    compressed: Bytes,
}

pub(crate) fn all() -> &'static Assets {
    static ASSETS: LazyLock<Assets> = LazyLock::new(Assets::compress);
    &ASSETS
}

impl Assets {
    fn compress() -> Self {
        Self(
            FILES
                .iter()
                .map(|(name, media_type, plain)| (*name, Asset::of(name, media_type, plain)))
                .collect(),
        )
    }

    /// Returns the URL of a file; an unknown one has none.
    pub(crate) fn url(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |asset| &asset.url)
    }
}

impl Asset {
    fn of(name: &str, media_type: &'static str, plain: &'static [u8]) -> Self {
        let mut hash = hex::encode(Sha256::digest(plain));
        hash.truncate(HASH_CHARS);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        let compressed = encoder.write_all(plain).and_then(|()| encoder.finish());
        let compressed = compressed.expect("memory takes what is written").into();
        Self { url: format!("/assets/{hash}/{name}"), hash, media_type, plain, compressed }
    }
}

/// Answers with a file.
///
/// # Errors
/// There is no file of this name with this hash.
pub(crate) async fn serve(
    Path((hash, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, PageError> {
    let asset = all().0.get(name.as_str()).filter(|asset| asset.hash == hash).ok_or(PageError::NotFound)?;
    let common = [
        (CONTENT_TYPE, asset.media_type),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (VARY, "accept-encoding"),
    ];
    let accepts = request.headers().get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|codings| codings.contains("gzip")) {
        return Ok((common, [(CONTENT_ENCODING, "gzip")], asset.compressed.clone()).into_response());
    }
    Ok((common, Bytes::from_static(asset.plain)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest size of all assets together, compressed, in bytes.
    const COMPRESSED_BYTES_MAX: usize = 60 << 10;

    #[test]
    fn files_of_others_are_those_that_were_reviewed() {
        let list = include_str!("../assets/vendored.txt");
        let pinned: HashMap<&str, &str> = list
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.split_once("  ").expect("a hash and a name"))
            .map(|(hash, name)| (name, hash))
            .collect();
        let ours = ["dashboard.css", "dashboard.js", "icon.svg"];
        for (name, _, bytes) in FILES {
            let hash = hex::encode(Sha256::digest(bytes));
            assert!(ours.contains(name) || pinned.get(name) == Some(&hash.as_str()), "{name} has {hash}");
        }
        assert_eq!(pinned.len() + ours.len(), FILES.len());
    }

    #[test]
    fn the_assets_are_small() {
        let total: usize = all().0.values().map(|asset| asset.compressed.len()).sum();
        assert!(total <= COMPRESSED_BYTES_MAX, "{total}");
    }
}
