//! The Merkle tree of RFC 6962 section 2.1, kept as tiles of 256 hashes (C2SP tlog-tiles): a level of tiles holds each 256th
//! level of the tree, and everything between is computed. Proofs of a log of ten million records read a dozen tiles.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tlog_tiles::{HASH_SIZE, HashReader, Tile};
pub use tlog_tiles::{Hash, RecordProof, TreeProof};

/// Levels of the tree in a tile.
const HEIGHT: u8 = 8;
/// Hashes in a tile that is full.
const WIDTH: usize = 1 << HEIGHT;

/// Which tile: its level, from 0 at the leaves, and its number in it.
pub type TileId = (u8, u64);

/// Why something cannot be said of a tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A tile that the tree has is not there.
    #[error("tile {1} of level {0} is missing")]
    Missing(u8, u64),
    /// A tile holds less than the tree of this size has in it, or no whole hashes.
    #[error("tile {1} of level {0} is damaged")]
    Damaged(u8, u64),
    /// The tree has no such record, or was never so small.
    #[error("there is no such proof: {0}")]
    NoProof(tlog_tiles::Error),
}

/// Tiles, by id.
#[derive(Clone, Debug, Default)]
pub struct Tiles(BTreeMap<TileId, Vec<u8>>);

impl Tiles {
    /// Adds what a tile holds: hashes one after the other.
    pub fn insert(&mut self, id: TileId, hashes: Vec<u8>) {
        self.0.insert(id, hashes);
    }

    /// The tile's hashes.
    #[must_use]
    pub fn get(&self, id: TileId) -> Option<&[u8]> {
        self.0.get(&id).map(Vec::as_slice)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (TileId, &[u8])> {
        self.0.iter().map(|(id, hashes)| (*id, hashes.as_slice()))
    }

    /// The hash of this record.
    #[must_use]
    pub fn leaf(&self, index: u64) -> Option<Hash> {
        let at = usize::try_from(index % WIDTH as u64).ok()? * HASH_SIZE;
        let hash = self.get(leaf_tile(index))?.get(at..at + HASH_SIZE)?;
        Some(Hash(hash.try_into().ok()?))
    }

    /// The root of the tree of this size.
    ///
    /// # Errors
    /// When a tile that it needs is missing or damaged.
    pub fn root(&self, size: u64) -> Result<Hash, TreeError> {
        let reader = Reader::of(self);
        let root = tlog_tiles::tree_hash(size, &reader);
        reader.ended(root)
    }

    /// That a tree of this size has this record (RFC 6962 section 2.1.1).
    ///
    /// # Errors
    /// When it has not, or a tile is missing or damaged.
    pub fn prove_record(&self, size: u64, index: u64) -> Result<RecordProof, TreeError> {
        let reader = Reader::of(self);
        let proof = tlog_tiles::prove_record(size, index, &reader);
        reader.ended(proof)
    }

    /// That a tree of this size begins with that of an older one (RFC 6962 section 2.1.2).
    ///
    /// # Errors
    /// When the older size is larger or zero, or a tile is missing or damaged.
    pub fn prove_tree(&self, size: u64, older: u64) -> Result<TreeProof, TreeError> {
        let reader = Reader::of(self);
        let proof = tlog_tiles::prove_tree(size, older, &reader);
        reader.ended(proof)
    }
}

/// The tiles that a question about a tree needs: the question is asked once without any.
pub fn tiles_for<T>(ask: impl FnOnce(&Wanted) -> Result<T, tlog_tiles::Error>) -> BTreeSet<TileId> {
    let wanted = Wanted::default();
    // What it answers is computed from nothing, and worth nothing.
    let _ = ask(&wanted);
    wanted.0.into_inner()
}

/// The tiles for [`Tiles::root`].
#[must_use]
pub fn for_root(size: u64) -> BTreeSet<TileId> {
    tiles_for(|wanted| tlog_tiles::tree_hash(size, wanted))
}

/// The tiles for [`Tiles::prove_record`].
#[must_use]
pub fn for_record(size: u64, index: u64) -> BTreeSet<TileId> {
    let mut tiles = tiles_for(|wanted| tlog_tiles::prove_record(size, index, wanted));
    tiles.insert(leaf_tile(index));
    tiles
}

/// The tiles for [`Tiles::prove_tree`].
#[must_use]
pub fn for_tree(size: u64, older: u64) -> BTreeSet<TileId> {
    tiles_for(|wanted| tlog_tiles::prove_tree(size, older, wanted))
}

/// The tile that a record's hash is in.
#[must_use]
pub fn leaf_tile(index: u64) -> TileId {
    (0, index / WIDTH as u64)
}

/// The right edge of a tree, where it grows: its tiles that are not full, level by level.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    size: u64,
    levels: Vec<Vec<u8>>,
}

impl Edge {
    /// The tiles of a tree of this size that [`Edge::read`] needs.
    #[must_use]
    pub fn tiles(size: u64) -> Vec<TileId> {
        let level = |level: u8| {
            let hashes = at_level(size, level);
            (!hashes.is_multiple_of(WIDTH as u64)).then_some((level, hashes / WIDTH as u64))
        };
        levels(size).filter_map(level).collect()
    }

    /// The edge of a tree.
    ///
    /// # Errors
    /// When a tile is missing or damaged.
    pub fn read(size: u64, tiles: &Tiles) -> Result<Self, TreeError> {
        let level = |level: u8| {
            let hashes = at_level(size, level);
            let (number, width) = (hashes / WIDTH as u64, hashes % WIDTH as u64);
            if width == 0 {
                return Ok(Vec::new());
            }
            let tile = tiles.get((level, number));
            let tile = tile.ok_or(TreeError::Missing(level, number))?;
            let length = usize::try_from(width).unwrap_or(WIDTH) * HASH_SIZE;
            let tile = tile.get(..length);
            Ok(tile.ok_or(TreeError::Damaged(level, number))?.to_vec())
        };
        Ok(Self {
            size,
            levels: levels(size).map(level).collect::<Result<_, _>>()?,
        })
    }

    /// The edge of a tree, from its levels ([`Edge::levels`]).
    ///
    /// # Errors
    /// When they are none of a tree of this size.
    pub fn of(size: u64, levels: Vec<Vec<u8>>) -> Result<Self, TreeError> {
        let mut tiles = Tiles::default();
        for (level, hashes) in (0..u8::MAX).zip(levels) {
            tiles.insert((level, at_level(size, level) / WIDTH as u64), hashes);
        }
        Self::read(size, &tiles)
    }

    /// Its levels of tiles: the hashes of each that is not full.
    pub fn levels(&self) -> impl Iterator<Item = &[u8]> {
        self.levels.iter().map(Vec::as_slice)
    }

    /// Records in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree.
    ///
    /// # Errors
    /// Never, of an edge that was read whole.
    pub fn root(&self) -> Result<Hash, TreeError> {
        let mut tiles = Tiles::default();
        for (id, hashes) in self.partial() {
            tiles.insert(id, hashes.to_vec());
        }
        tiles.root(self.size)
    }

    /// Appends a record by its leaf hash, and hands over each tile that is full by that.
    pub fn append(&mut self, leaf: Hash, mut full: impl FnMut(TileId, Vec<u8>)) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0..u8::MAX {
            let at = usize::from(level);
            if self.levels.len() == at {
                self.levels.push(Vec::new());
            }
            let Some(tile) = self.levels.get_mut(at) else {
                return;
            };
            tile.extend_from_slice(&hash.0);
            if tile.len() < WIDTH * HASH_SIZE {
                return;
            }
            hash = Tile::subtree_hash(tile);
            let number = at_level(self.size, level) / WIDTH as u64 - 1;
            full((level, number), std::mem::take(tile));
        }
    }

    /// The tiles that are not full, as they are now.
    pub fn partial(&self) -> impl Iterator<Item = (TileId, &[u8])> {
        (0..u8::MAX)
            .zip(&self.levels)
            .filter(|(_, tile)| !tile.is_empty())
            .map(|(level, tile)| {
                let number = at_level(self.size, level) / WIDTH as u64;
                ((level, number), tile.as_slice())
            })
    }
}

/// Hashes at this level of tiles in a tree of this size.
fn at_level(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(HEIGHT) * u32::from(level))
        .unwrap_or(0)
}

fn levels(size: u64) -> impl Iterator<Item = u8> {
    (0..u8::MAX).take_while(move |level| at_level(size, *level) > 0)
}

/// Notes which tiles are asked for.
#[derive(Debug, Default)]
pub struct Wanted(RefCell<BTreeSet<TileId>>);

impl HashReader for Wanted {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let tiles = indexes.iter().map(|index| tile_of(*index));
        self.0.borrow_mut().extend(tiles);
        Ok(vec![Hash::default(); indexes.len()])
    }
}

/// Reads what there is, and notes what is not.
struct Reader<'a> {
    tiles: &'a Tiles,
    failed: RefCell<Option<TreeError>>,
}

impl<'a> Reader<'a> {
    fn of(tiles: &'a Tiles) -> Self {
        Self {
            tiles,
            failed: RefCell::new(None),
        }
    }

    fn ended<T>(self, result: Result<T, tlog_tiles::Error>) -> Result<T, TreeError> {
        match self.failed.into_inner() {
            Some(failed) => Err(failed),
            None => result.map_err(TreeError::NoProof),
        }
    }

    fn hash(&self, index: u64) -> Result<Hash, TreeError> {
        let least = Tile::from_index(HEIGHT, index);
        let (level, number) = (least.level(), least.level_index());
        let hashes = self.tiles.get((level, number));
        let hashes = hashes.ok_or(TreeError::Missing(level, number))?;
        let hash = least.hash_at_index(hashes, index);
        hash.map_err(|_| TreeError::Damaged(level, number))
    }
}

impl HashReader for Reader<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog_tiles::Error> {
        let read = indexes.iter().map(|index| self.hash(*index));
        read.collect::<Result<_, _>>().map_err(|failed| {
            *self.failed.borrow_mut() = Some(failed);
            tlog_tiles::Error::InvalidTile
        })
    }
}

fn tile_of(index: u64) -> TileId {
    let tile = Tile::from_index(HEIGHT, index);
    (tile.level(), tile.level_index())
}

#[cfg(test)]
mod tests {
    use tlog_tiles::{EMPTY_HASH, check_record, check_tree, node_hash, record_hash};

    use super::*;

    /// RFC 6962 section 2.1, as it is written there.
    fn root_of(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_HASH,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(root_of(left), root_of(right))
            }
        }
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count)
            .map(|n| record_hash(n.to_string().as_bytes()))
            .collect()
    }

    /// Grows by pieces of these lengths, each read from what the last one wrote.
    fn grown(leaves: &[Hash], pieces: &[usize]) -> Tiles {
        let (mut tiles, mut rest, mut size) = (Tiles::default(), leaves, 0);
        for piece in pieces.iter().cycle() {
            let (now, then) = rest.split_at((*piece).min(rest.len()));
            let mut few = Tiles::default();
            for id in Edge::tiles(size) {
                few.insert(id, tiles.get(id).unwrap().to_vec());
            }
            let mut edge = Edge::read(size, &few).unwrap();
            for leaf in now {
                edge.append(*leaf, |id, hashes| tiles.insert(id, hashes));
            }
            size = edge.size();
            for (id, hashes) in edge.partial() {
                tiles.insert(id, hashes.to_vec());
            }
            rest = then;
            if rest.is_empty() {
                break;
            }
        }
        tiles
    }

    fn only(tiles: &Tiles, wanted: &BTreeSet<TileId>) -> Tiles {
        let mut few = Tiles::default();
        for id in wanted {
            few.insert(*id, tiles.get(*id).unwrap().to_vec());
        }
        few
    }

    #[test]
    fn the_root_is_that_of_rfc_6962_however_the_tree_grew() {
        let all = leaves(1500);
        for pieces in [
            vec![1],
            vec![1500],
            vec![255, 1, 3, 512],
            vec![256],
            vec![7, 300],
        ] {
            let tiles = grown(&all, &pieces);
            for size in [1, 2, 3, 255, 256, 257, 511, 512, 513, 1024, 1499, 1500] {
                let wanted = for_root(size as u64);
                let root = only(&tiles, &wanted).root(size as u64).unwrap();
                assert_eq!(root, root_of(&all[..size]), "{size}, {pieces:?}");
            }
            assert_eq!(tiles.leaf(700), Some(all[700]));
            let edge = Edge::read(1500, &tiles).unwrap();
            assert_eq!(edge.root().unwrap(), root_of(&all));
            assert_eq!(tiles.leaf(1500), None);
        }
        assert_eq!(Tiles::default().root(0).unwrap(), EMPTY_HASH);
    }

    #[test]
    fn a_tree_of_three_levels_of_tiles_has_the_right_root() {
        let all = leaves(66_000);
        let tiles = grown(&all, &[20_000]);
        assert!(tiles.get((2, 0)).is_some());
        assert_eq!(tiles.root(66_000).unwrap(), root_of(&all));
        let proof = only(&tiles, &for_record(66_000, 12_345))
            .prove_record(66_000, 12_345)
            .unwrap();
        check_record(&proof, 66_000, root_of(&all), 12_345, all[12_345]).unwrap();
    }

    #[test]
    fn proofs_are_accepted_by_who_checks_them_and_by_nobody_for_another_record_or_tree() {
        let all = leaves(600);
        let tiles = grown(&all, &[100]);
        let root = |size: usize| root_of(&all[..size]);
        for (size, index) in [
            (1, 0),
            (2, 1),
            (256, 255),
            (257, 256),
            (600, 0),
            (600, 511),
            (600, 599),
        ] {
            let few = only(&tiles, &for_record(size as u64, index as u64));
            let proof = few.prove_record(size as u64, index as u64).unwrap();
            let check = |size: usize, at: usize, leaf| {
                check_record(&proof, size as u64, root(size), at as u64, leaf)
            };
            check(size, index, all[index]).unwrap();
            check(size, index, all[(index + 1) % 600]).unwrap_err();
        }
        for (size, older) in [
            (2, 1),
            (257, 256),
            (600, 1),
            (600, 255),
            (600, 512),
            (600, 600),
        ] {
            let few = only(&tiles, &for_tree(size as u64, older as u64));
            let proof = few.prove_tree(size as u64, older as u64).unwrap();
            let check =
                |older_root| check_tree(&proof, size as u64, root(size), older as u64, older_root);
            check(root(older)).unwrap();
            check(root(older - 1)).unwrap_err();
        }
        assert!(matches!(
            tiles.prove_record(600, 600),
            Err(TreeError::NoProof(_))
        ));
        assert!(matches!(tiles.prove_tree(5, 6), Err(TreeError::NoProof(_))));
    }

    #[test]
    fn a_tile_that_is_missing_or_cut_is_named() {
        let all = leaves(600);
        let mut tiles = grown(&all, &[600]);
        tiles.insert((0, 2), vec![0; 31]);
        assert!(matches!(tiles.root(600), Err(TreeError::Damaged(0, 2))));
        assert!(matches!(
            tiles.root(900),
            Err(TreeError::Missing(0, 3) | TreeError::Damaged(..))
        ));
        let edge = Edge::read(600, &tiles);
        assert!(matches!(edge, Err(TreeError::Damaged(0, 2))));
        assert!(matches!(
            Edge::read(600, &Tiles::default()),
            Err(TreeError::Missing(..))
        ));
    }
}
