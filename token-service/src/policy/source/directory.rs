//! A policy in a directory and those below it.

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

use super::{MOST, SourceError, is_part, too_large};

/// Reads the files that are part of a policy. Hidden directories are left out; links to files are followed, as those of
/// a mounted Kubernetes ConfigMap have to be, links to directories are not.
pub(super) fn read(root: &Path) -> Result<BTreeMap<String, String>, SourceError> {
    let mut files = BTreeMap::new();
    let mut left = MOST;
    let mut directories = vec![PathBuf::new()];
    while let Some(below) = directories.pop() {
        let directory = root.join(&below);
        let failed = |source| SourceError::Read {
            path: directory.display().to_string(),
            source,
        };
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = below.join(&name);
            if entry.file_type().map_err(failed)?.is_dir() {
                if !name.starts_with('.') {
                    directories.push(path);
                }
                continue;
            }
            let path = path.display().to_string();
            if is_part(&path) {
                let text = text(&entry.path(), &mut left, root)?;
                files.insert(path, text);
            }
        }
    }
    Ok(files)
}

fn text(path: &Path, left: &mut usize, root: &Path) -> Result<String, SourceError> {
    let failed = |source| SourceError::Read {
        path: path.display().to_string(),
        source,
    };
    let mut text = String::new();
    let most = (*left as u64).saturating_add(1);
    std::fs::File::open(path)
        .and_then(|file| file.take(most).read_to_string(&mut text))
        .map_err(failed)?;
    *left = left
        .checked_sub(text.len())
        .ok_or_else(|| too_large(&root.display().to_string()))?;
    Ok(text)
}
