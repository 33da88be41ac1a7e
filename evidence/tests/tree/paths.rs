//! Paths of tiles.

use evidence::tree::{LogResource, PathError, TileError, TileId};
use proptest::prelude::*;

#[test]
fn paths_are_those_of_the_standard() {
    let tile = |level, index, width| TileId::new(level, index, width).unwrap();
    for (resource, path) in [
        (LogResource::Checkpoint, "checkpoint"),
        (LogResource::Tile(tile(0, 0, 256)), "tile/0/000"),
        (LogResource::Tile(tile(0, 1_234_067, 256)), "tile/0/x001/x234/067"),
        (LogResource::Tile(tile(2, 1_000, 17)), "tile/2/x001/000.p/17"),
        (LogResource::Entries(tile(0, 67, 255)), "tile/entries/067.p/255"),
        (LogResource::Entries(tile(0, 36_028_797_018_963, 256)), "tile/entries/x036/x028/x797/x018/963"),
    ] {
        assert_eq!(resource.to_string(), path);
        assert_eq!(path.parse(), Ok(resource));
    }
}

#[test]
fn a_tile_has_no_second_path() {
    for (path, expected) in [
        ("", PathError::Unknown),
        ("/checkpoint", PathError::Unknown),
        ("tile/0", PathError::Unknown),
        ("tile/00/000", PathError::Level),
        ("tile/+1/000", PathError::Level),
        ("tile/entry/000", PathError::Level),
        ("tile/8/000", PathError::Tile(TileError::Level(8))),
        ("tile/0/0", PathError::Index),
        ("tile/0/001/", PathError::Index),
        ("tile/0/1000", PathError::Index),
        ("tile/0/x000/001", PathError::Index),
        ("tile/0/001/002", PathError::Index),
        ("tile/0/x001/x002", PathError::Index),
        ("tile/0/../001", PathError::Index),
        ("tile/0/x999/x999/x999/x999/x999/x999/x999/999", PathError::Index),
        ("tile/0/000.p/0", PathError::Width),
        ("tile/0/000.p/01", PathError::Width),
        ("tile/0/000.p/256", PathError::Width),
        ("tile/0/000.p/", PathError::Width),
        ("tile/7/x001/000", PathError::Tile(TileError::Index { level: 7, index: 1_000 })),
    ] {
        assert_eq!(path.parse::<LogResource>(), Err(expected), "{path}");
    }
}

proptest! {
    #[test]
    fn paths_round_trip(level in 0_u8..3, index in 0_u64..1_000_000_000, width in 1_usize..=256, entries: bool) {
        let resource = if entries {
            LogResource::Entries(TileId::new(0, index, width).unwrap())
        } else {
            LogResource::Tile(TileId::new(level, index, width).unwrap())
        };
        prop_assert_eq!(resource.to_string().parse(), Ok(resource));
    }

    /// What is accepted is written in the same way again.
    #[test]
    fn a_path_is_canonical_or_refused(path in "(tile/)?([0-9]{1,2}|entries)/(x?[0-9]{3}/?){0,9}(\\.p/[0-9]{0,4})?|.*") {
        if let Ok(resource) = path.parse::<LogResource>() {
            prop_assert_eq!(resource.to_string(), path);
        }
    }
}
