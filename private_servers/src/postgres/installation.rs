//! The PostgreSQL programs on this machine.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::error::ServerError;

/// Oldest major version that is still supported by its developers and has every feature used here (`xid8`
/// came with 13).
const OLDEST_MAJOR: u32 = 14;

const PROGRAMS: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// Folders that contain a folder for each version, with its programs in `bin`.
const VERSIONED: [&str; 6] = [
    "/usr/lib/postgresql",
    "/usr",
    "/opt/homebrew/opt",
    "/usr/local/opt",
    "/home/linuxbrew/.linuxbrew/opt",
    "/Applications/Postgres.app/Contents/Versions",
];

/// One complete set of programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    folder: PathBuf,
    major: u32,
}

impl Installation {
    /// Finds the programs to use. `written_by` is the major version that wrote the existing data, if any.
    pub(crate) async fn find(written_by: Option<u32>, data_folder: &Path) -> Result<Self, ServerError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut newest_other = None;
        for folder in candidates(&path) {
            let Some(major) = major_version(&folder.join("postgres")).await else { continue };
            let fits = written_by.map_or(major >= OLDEST_MAJOR, |written_by| written_by == major);
            if fits {
                return Ok(Self { folder, major });
            }
            newest_other = newest_other.max(Some(major));
        }
        Err(match (newest_other, written_by) {
            (None, _) => ServerError::PostgresNotInstalled,
            (Some(_), Some(needed)) => ServerError::OtherVersion { folder: data_folder.to_owned(), needed },
            (Some(found), None) => ServerError::TooOld { found, oldest: OLDEST_MAJOR },
        })
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn major(&self) -> u32 {
        self.major
    }
}

/// Returns folders with all the programs: those of `PATH` in its order, then the usual ones, newest first.
fn candidates(path: &OsStr) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let usual = VERSIONED.iter().flat_map(|parent| {
        let mut versions = versions_in(Path::new(parent));
        versions.sort_by_key(|(version, _)| Reverse(*version));
        versions.into_iter().map(|(_, folder)| folder.join("bin"))
    });
    for folder in std::env::split_paths(path).chain(usual) {
        // A folder of PATH may contain links to only some of the programs; their targets are next to the
        // others.
        let Ok(server) = fs::canonicalize(folder.join("postgres")) else { continue };
        let Some(home) = server.parent() else { continue };
        let complete = PROGRAMS.iter().all(|program| home.join(program).is_file());
        if complete && !folders.iter().any(|known| known == home) {
            folders.push(home.to_owned());
        }
    }
    folders
}

fn versions_in(parent: &Path) -> Vec<((u32, u32), PathBuf)> {
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| Some((version_in_name(entry.file_name().to_str()?)?, entry.path())))
        .collect()
}

/// Parses folder names such as `15`, `9.6`, `pgsql-16` (Fedora) and `postgresql@17` (Homebrew). `postgresql`
/// contains an unknown version, which is sorted last.
fn version_in_name(name: &str) -> Option<(u32, u32)> {
    if name == "postgresql" {
        return Some((0, 0));
    }
    let number = name.strip_prefix("pgsql-").or_else(|| name.strip_prefix("postgresql@")).unwrap_or(name);
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

async fn major_version(server: &Path) -> Option<u32> {
    let output = Command::new(server).arg("--version").output().await.ok()?;
    major_in_output(&String::from_utf8_lossy(&output.stdout))
}

/// Parses the output of `postgres --version`: `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` is
/// version 15, `postgres (PostgreSQL) 18beta1` version 18.
fn major_in_output(output: &str) -> Option<u32> {
    let (_, version) = output.split_once("(PostgreSQL) ")?;
    let digits = version.find(|character: char| !character.is_ascii_digit()).unwrap_or(version.len());
    version[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_folder_names() {
        for (name, version) in [
            ("15", Some((15, 0))),
            ("9.6", Some((9, 6))),
            ("pgsql-16", Some((16, 0))),
            ("postgresql@17", Some((17, 0))),
            ("postgresql", Some((0, 0))),
            ("latest", None),
            ("bin", None),
        ] {
            assert_eq!(version_in_name(name), version, "{name}");
        }
    }

    #[test]
    fn versions_are_read_from_the_output_of_the_server() {
        for (output, major) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL) 17\n", Some(17)),
            ("something else", None),
        ] {
            assert_eq!(major_in_output(output), major, "{output}");
        }
    }

    #[test]
    fn a_link_in_the_path_is_followed_to_the_folder_with_all_programs() {
        let place = tempfile::tempdir().unwrap();
        let home = place.path().join("lib/bin");
        let links = place.path().join("links");
        fs::create_dir_all(&home).unwrap();
        fs::create_dir_all(&links).unwrap();
        for program in PROGRAMS {
            fs::write(home.join(program), "").unwrap();
        }
        std::os::unix::fs::symlink(home.join("postgres"), links.join("postgres")).unwrap();

        let found = candidates(links.as_os_str());

        assert_eq!(found.first(), Some(&fs::canonicalize(home).unwrap()));
    }

    #[test]
    fn a_folder_without_all_programs_is_skipped() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("postgres"), "").unwrap();

        let found = candidates(place.path().as_os_str());

        assert!(!found.contains(&fs::canonicalize(place.path()).unwrap()), "{found:?}");
    }
}
