//! `sumdb/note` and `sumdb/tlog` of Go, which verify the checksum database of all public Go modules.

use std::path::Path;
use std::process::Command;

use super::judge;

/// Where the packages of Debian and Fedora put the sources of Go's libraries.
const GO_LIBRARIES: &str = "/usr/share/gocode";

#[test]
fn go_accepts_logs_and_no_altered_ones() {
    let library = Path::new(GO_LIBRARIES).join("src/golang.org/x/mod/sumdb/tlog");
    assert!(
        library.exists(),
        "golang.org/x/mod is not in {GO_LIBRARIES}; `make setup` installs it with apt-get or dnf"
    );
    judge(
        Command::new("go")
            .args(["run", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/judges/judge.go")])
            .env("GOPATH", GO_LIBRARIES)
            .env("GOCACHE", Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-build"))
            // The library is found in GOPATH, and nothing is downloaded.
            .envs([("GO111MODULE", "off"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", ""), ("CGO_ENABLED", "0")]),
    );
}
