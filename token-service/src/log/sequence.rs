//! From records to leaves. There is one order of records, so whoever is first to append counts, and whoever comes second finds it
//! done: any number of replicas may try, and none has to be the one.

use std::time::Duration;

use super::{
    leaf::Leaf,
    tree::{Edge, Tiles, TreeError},
};
use crate::store::{
    Store, StoreError,
    log::{LogState, NewLeaf, Unsequenced},
};

/// So many become leaves at a time, so that nobody waits long for their turn to write.
const AT_A_TIME: u32 = 1000;

/// How long is waited for transactions that were begun before.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether they are over.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why records do not become leaves.
#[derive(Debug, thiserror::Error)]
pub enum SequenceError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The tree that is kept does not hold: records that come are kept, but the log does not go on.
    #[error("the log's tree is damaged: {0}; `writ audit verify` says since when")]
    Tree(#[from] TreeError),
    /// A record cannot be written down.
    #[error("a record cannot be written down: {0}")]
    Json(#[from] serde_json::Error),
}

/// Makes leaves of all records that are committed; answers with how many there are in the log then.
///
/// # Errors
/// When the database fails, or the tree is damaged.
pub async fn catch_up(store: &Store) -> Result<u64, SequenceError> {
    loop {
        let state = store.log_state().await?;
        let records = store.unsequenced(state.seq, AT_A_TIME).await?;
        let Some(last) = records.last() else {
            return Ok(state.size);
        };
        let seq = last.seq;
        let few = records.len() < AT_A_TIME as usize;
        let tiles = store.tiles(Edge::tiles(state.size)).await?;
        let (edge, leaves, tiles) = append(Edge::read(state.size, &tiles)?, records)?;
        let to = LogState {
            size: edge.size(),
            seq,
        };
        let appended = store.append_leaves(state, to, &leaves, &tiles).await?;
        if appended && few {
            return Ok(to.size);
        }
    }
}

/// Makes leaves of all records that are committed by now, waiting for those that may still come before them; answers with how many
/// there are in the log then.
///
/// # Errors
/// As for [`catch_up`]; [`StoreError::Busy`] where somebody keeps a transaction open.
pub async fn catch_up_with_all(store: &Store) -> Result<u64, SequenceError> {
    let last = store.last_committed().await?;
    let all = async {
        loop {
            let size = catch_up(store).await?;
            if store.log_state().await?.seq >= last {
                return Ok(size);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, all)
        .await
        .unwrap_or(Err(StoreError::Busy.into()))
}

fn append(
    mut edge: Edge,
    records: Vec<Unsequenced>,
) -> Result<(Edge, Vec<NewLeaf>, Tiles), serde_json::Error> {
    let mut tiles = Tiles::default();
    let mut leaves = Vec::with_capacity(records.len());
    for record in records {
        let personal = record.opening.commitment()?;
        let leaf = Leaf {
            personal: personal.clone(),
            ..record.leaf
        };
        leaves.push(NewLeaf {
            leaf: edge.size(),
            seq: record.seq,
            personal,
        });
        edge.append(leaf.hash()?, |id, hashes| tiles.insert(id, hashes));
    }
    for (id, hashes) in edge.partial() {
        tiles.insert(id, hashes.to_vec());
    }
    Ok((edge, leaves, tiles))
}
