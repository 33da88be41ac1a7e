//! Members of the archive, in their order. Only regular files with the names of a bundle are accepted.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use evidence::note::NOTE_BYTES_MAX;
use evidence::proof::PROOF_BYTES_MAX;
use evidence::tree::{Hash, TILE_WIDTH};
use flate2::bufread::GzDecoder;
use tar::{Archive, Entries, Entry, EntryType};

use super::Unreadable;
use crate::bundle::format::Member;

/// Maximum length of the documents in a bundle, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;
/// Maximum length of what follows the last member: programs fill up to 10 KiB.
const PADDING_BYTES_MAX: u64 = 64 << 10;

pub(super) type Decoded = GzDecoder<BufReader<File>>;

/// Opens the archive for one pass.
pub(super) fn open(file: &Path) -> Result<Archive<Decoded>, Unreadable> {
    let file = File::open(file).map_err(Unreadable::File)?;
    Ok(Archive::new(GzDecoder::new(BufReader::new(file))))
}

/// Members of an archive.
pub(super) struct Members<'a>(Entries<'a, Decoded>);

impl<'a> Members<'a> {
    pub(super) fn of(archive: &'a mut Archive<Decoded>) -> Result<Self, Unreadable> {
        // Raw: no member says something about the next one, such as a name of any length.
        Ok(Self(archive.entries().map_err(Unreadable::archive)?.raw(true)))
    }

    /// Returns the next member.
    pub(super) fn next(&mut self) -> Result<Option<(Member, Entry<'a, Decoded>)>, Unreadable> {
        let Some(entry) = self.0.next() else { return Ok(None) };
        let entry = entry.map_err(Unreadable::archive)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let member = path.parse().ok().filter(|_| entry.header().entry_type() == EntryType::Regular);
        let member = member.ok_or(Unreadable::Member(path))?;
        let (bytes, max) = (entry.size(), bytes_max(member));
        if bytes > max {
            return Err(Unreadable::Size { member: member.to_string(), bytes, max });
        }
        Ok(Some((member, entry)))
    }

    /// Returns the next member of those that `wanted` accepts.
    pub(super) fn find(
        &mut self,
        wanted: impl Fn(Member) -> bool,
    ) -> Result<Option<(Member, Entry<'a, Decoded>)>, Unreadable> {
        while let Some((member, entry)) = self.next()? {
            if wanted(member) {
                return Ok(Some((member, entry)));
            }
        }
        Ok(None)
    }
}

/// Maximum length of a member. Facts and payloads are not kept in memory.
fn bytes_max(member: Member) -> u64 {
    match member {
        Member::Readme | Member::Script | Member::Policy | Member::Manifest | Member::TimeStamp(_) => {
            DOCUMENT_BYTES_MAX
        }
        Member::Checkpoint(_) | Member::Stamped(_) => NOTE_BYTES_MAX as u64,
        Member::Installation(_) | Member::Proof(..) => PROOF_BYTES_MAX as u64,
        Member::Tile(..) => (TILE_WIDTH * Hash::BYTES) as u64,
        Member::Delivered(_) | Member::Received(_) | Member::Facts => u64::MAX,
    }
}

/// Reads a member whose length is limited.
pub(super) fn read(mut entry: Entry<'_, Decoded>) -> Result<Vec<u8>, Unreadable> {
    let mut bytes = vec![];
    entry.read_to_end(&mut bytes).map_err(Unreadable::archive)?;
    Ok(bytes)
}

/// Reads what follows the last member, so that the checksum of the compression is verified.
pub(super) fn finish(archive: Archive<Decoded>) -> Result<(), Unreadable> {
    let mut decoder = archive.into_inner();
    let invalid = |problem| Unreadable::archive(io::Error::new(io::ErrorKind::InvalidData, problem));
    let mut rest = vec![];
    decoder.by_ref().take(PADDING_BYTES_MAX).read_to_end(&mut rest).map_err(Unreadable::archive)?;
    if rest.len() as u64 == PADDING_BYTES_MAX || rest.iter().any(|byte| *byte != 0) {
        return Err(invalid("something follows the last member"));
    }
    let mut byte = [0];
    match decoder.into_inner().read(&mut byte).map_err(Unreadable::File)? {
        0 => Ok(()),
        _ => Err(invalid("something follows the archive")),
    }
}
