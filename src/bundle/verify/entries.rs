//! Lines of `facts.ndjson` as entries.

use std::io::{self, BufRead, Read as _};

use chrono::{DateTime, SecondsFormat, Utc};
use evidence::leaf::{ContinuationLeaf, FactLeaf};
use evidence::tree::TreeHead;

use crate::bundle::format::{EndedLog, Line, ShownFact};

/// Maximum length of a line, in bytes. Texts of facts have at most some hundred kilobytes.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Reads the next line; `None` at the end.
pub(super) fn read_line(reader: &mut impl BufRead) -> io::Result<Option<Result<Line, String>>> {
    let mut bytes = vec![];
    reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Ok(Some(Err(format!("the line has no end, or more than {LINE_BYTES_MAX} bytes"))));
    }
    Ok(Some(serde_json::from_slice(&bytes).map_err(|error| error.to_string())))
}

/// Returns the entry of a fact, and when it was recorded.
pub(super) fn of_fact(fact: &ShownFact) -> Result<(String, DateTime<Utc>), String> {
    let (stream_type, stream_id) = fact
        .stream
        .split_once('/')
        .ok_or("the stream must be a type and an id, with a slash between them")?;
    let recorded = DateTime::parse_from_rfc3339(&fact.recorded).map_err(|error| error.to_string())?.to_utc();
    if recorded.to_rfc3339_opts(SecondsFormat::Micros, true) != fact.recorded {
        return Err("the time must be in UTC and have six decimals".to_owned());
    }
    let leaf = FactLeaf {
        stream_type,
        stream_id,
        sequence: fact.sequence,
        fact_type: &fact.fact_type,
        fact_version: &fact.version,
        recorded_micros: recorded.timestamp_micros(),
        metadata: &fact.metadata,
        fact: &fact.text,
    };
    let entry = leaf.entry(&fact.salt.0).map_err(|error| error.to_string())?;
    Ok((entry, recorded))
}

/// Returns the entry that names the log which ended, and the last head of that.
pub(super) fn of_continuation(ended: &EndedLog) -> Result<(String, TreeHead), String> {
    let root = ended.root.parse().map_err(|error: evidence::tree::HashError| error.to_string())?;
    let tree = TreeHead { size: ended.size, root };
    let entry = ContinuationLeaf { log_id: &ended.log.to_string(), tree }.entry();
    Ok((entry.map_err(|error| error.to_string())?, tree))
}
