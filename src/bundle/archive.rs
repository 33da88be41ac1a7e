//! Writing of a bundle: into a temporary file, which gets its name when it is complete.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

use super::format::Member;

/// A bundle that is being written. Dropped before [`Self::finish`], it leaves nothing.
pub(super) struct ArchiveWriter {
    output: PathBuf,
    partial: PartialFile,
    tar: Builder<GzEncoder<BufWriter<File>>>,
    /// Time of all members, in seconds since 1970.
    time: u64,
}

/// File that is removed when it is dropped.
struct PartialFile(PathBuf);

impl Drop for PartialFile {
    fn drop(&mut self) {
        // After the file was renamed there is none.
        let _ = fs::remove_file(&self.0);
    }
}

impl ArchiveWriter {
    /// Creates the temporary file in the folder of `output`, which must not exist.
    pub(super) fn create(output: &Path, time: u64) -> io::Result<Self> {
        if output.try_exists()? {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists"));
        }
        let path = sibling(output, "partial");
        let file = create(&path)?;
        let partial = PartialFile(path);
        let tar = Builder::new(GzEncoder::new(BufWriter::new(file), Compression::default()));
        Ok(Self { output: output.to_owned(), partial, tar, time })
    }

    /// Creates a file without a name in the same folder, for a member whose length is not known yet.
    pub(super) fn spool(&self) -> io::Result<Spool> {
        let path = sibling(&self.output, "facts");
        let file = create(&path)?;
        fs::remove_file(&path)?;
        Ok(Spool { file: BufWriter::new(file), bytes: 0 })
    }

    /// Writes a member.
    pub(super) fn put(&mut self, member: Member, content: &[u8]) -> io::Result<()> {
        self.put_from(member, content.len() as u64, content)
    }

    fn put_from(&mut self, member: Member, bytes: u64, content: impl Read) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_size(bytes);
        header.set_mode(0o644);
        header.set_mtime(self.time);
        self.tar.append_data(&mut header, member.to_string(), content)
    }

    /// Writes a member that was spooled.
    pub(super) fn put_spooled(&mut self, member: Member, spool: Spool) -> io::Result<()> {
        let mut file = spool.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        self.put_from(member, spool.bytes, io::BufReader::new(file))
    }

    /// Completes the bundle and gives it its name.
    pub(super) fn finish(self) -> io::Result<()> {
        let file = self.tar.into_inner()?.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        // Unlike a rename, a link replaces no file that was created meanwhile.
        fs::hard_link(&self.partial.0, &self.output)
    }
}

/// Bytes of a member, until their number is known.
pub(super) struct Spool {
    file: BufWriter<File>,
    bytes: u64,
}

impl Spool {
    /// Appends a line.
    pub(super) fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all(line)?;
        self.file.write_all(b"\n")?;
        self.bytes += line.len() as u64 + 1;
        Ok(())
    }
}

/// Returns the path of a hidden file in the folder of `output`, of this process.
fn sibling(output: &Path, purpose: &str) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    output.with_file_name(format!(".{name}.{}.{purpose}", std::process::id()))
}

/// Creates a file that only its owner can read: a bundle has payloads.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_bundle_leaves_nothing_and_a_complete_one_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("bundle.tar.gz");
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let mut writer = ArchiveWriter::create(&output, 7).unwrap();
        writer.put(Member::Readme, b"half").unwrap();
        drop((writer.spool().unwrap(), writer));
        assert_eq!(names(), 0);

        let late = ArchiveWriter::create(&output, 7).unwrap();
        fs::write(&output, "of another process").unwrap();
        late.finish().unwrap_err();
        assert!(ArchiveWriter::create(&output, 7).is_err());
        assert_eq!(fs::read_to_string(&output).unwrap(), "of another process");
        assert_eq!(names(), 1);
    }
}
