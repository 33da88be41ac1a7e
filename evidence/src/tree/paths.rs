//! Paths of the read API of a tiled log (C2SP tlog-tiles v0.1.0, section "APIs").

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::decimal;

use super::{TILE_WIDTH, TileError, TileId};

/// Reason why a path names no resource of a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    #[error("the path must be `checkpoint`, `tile/<level>/<index>` or `tile/entries/<index>`")]
    Unknown,
    #[error("the level must be a decimal number without leading zeros")]
    Level,
    #[error(
        "the index must be groups of three digits, all but the last after an `x`, such as `x001/x234/067`"
    )]
    Index,
    #[error("the width after `.p/` must be 1 to 255, without leading zeros")]
    Width,
    #[error(transparent)]
    Tile(#[from] TileError),
}

/// What the read API of a log serves. The text form is the path below the log's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogResource {
    /// The latest signed checkpoint: `checkpoint`.
    Checkpoint,
    /// Hashes: `tile/<level>/<index>`, and `.p/<width>` for a partial tile.
    Tile(TileId),
    /// The entries of the tile of level 0 with these coordinates: `tile/entries/<index>`, and `.p/<width>`.
    Entries(TileId),
}

impl fmt::Display for LogResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tile = match self {
            Self::Checkpoint => return f.write_str("checkpoint"),
            Self::Tile(tile) => {
                write!(f, "tile/{}/", tile.level())?;
                tile
            }
            Self::Entries(tile) => {
                f.write_str("tile/entries/")?;
                tile
            }
        };
        write_index(f, tile.index() / 1000)?;
        write!(f, "{:03}", tile.index() % 1000)?;
        if tile.is_full() { Ok(()) } else { write!(f, ".p/{}", tile.width()) }
    }
}

/// Writes all groups of an index but the last.
fn write_index(f: &mut fmt::Formatter<'_>, index: u64) -> fmt::Result {
    if index == 0 {
        return Ok(());
    }
    write_index(f, index / 1000)?;
    write!(f, "x{:03}/", index % 1000)
}

impl FromStr for LogResource {
    type Err = PathError;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        if path == "checkpoint" {
            return Ok(Self::Checkpoint);
        }
        let (level, rest) =
            path.strip_prefix("tile/").and_then(|rest| rest.split_once('/')).ok_or(PathError::Unknown)?;
        let (index, width) = match rest.split_once(".p/") {
            None => (parse_index(rest)?, TILE_WIDTH),
            Some((index, width)) => {
                let width = decimal::parse(width).and_then(|width| u8::try_from(width).ok());
                let width = width.filter(|width| *width > 0).ok_or(PathError::Width)?;
                (parse_index(index)?, width.into())
            }
        };
        if level == "entries" {
            return Ok(Self::Entries(TileId::new(0, index, width)?));
        }
        let level =
            decimal::parse(level).and_then(|level| u8::try_from(level).ok()).ok_or(PathError::Level)?;
        Ok(Self::Tile(TileId::new(level, index, width)?))
    }
}

fn parse_index(text: &str) -> Result<u64, PathError> {
    let mut index = 0_u64;
    let mut groups = text.split('/').peekable();
    let mut first = true;
    while let Some(group) = groups.next() {
        let last = groups.peek().is_none();
        let digits = if last { group } else { group.strip_prefix('x').ok_or(PathError::Index)? };
        if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PathError::Index);
        }
        let number: u64 = digits.parse().map_err(|_| PathError::Index)?;
        // An index has one path: leading groups of zeros are left out.
        if first && !last && number == 0 {
            return Err(PathError::Index);
        }
        first = false;
        index =
            index.checked_mul(1000).and_then(|index| index.checked_add(number)).ok_or(PathError::Index)?;
    }
    Ok(index)
}
