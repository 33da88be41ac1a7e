//! `tlog-scales` for Python.

use std::path::Path;
use std::process::Command;

use super::judge;

/// Folder in which `.ci/setup` installs it, next to the build.
const LIBRARY: &str = "tlog-scales-0.0.3";

#[test]
fn tlog_scales_accepts_logs_and_no_altered_ones() {
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name(LIBRARY);
    assert!(library.exists(), "the library {LIBRARY} is not installed; `make setup` does that");
    judge(
        Command::new("python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/judge.py"))
            .env("PYTHONPATH", library)
            .env("PYTHONDONTWRITEBYTECODE", "1"),
    );
}
