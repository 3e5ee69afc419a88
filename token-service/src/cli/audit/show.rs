//! `writ audit show`

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use serde_json::json;
use writ_policy::Value;

use super::{CliError, Output, view};
use crate::{
    audit::{ArgumentsKey, Opened, Record},
    config::Config,
    keys::KeyError,
    store::{Store, StoreError},
};

/// One record.
#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Its id.
    id: String,
    /// Say whether the call had the arguments in this file (JSON), where their digest is kept.
    #[arg(long, value_name = "FILE")]
    arguments: Option<PathBuf>,
}

impl Show {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let found = store.record_of(&self.id).await?;
        let entry = found.ok_or_else(|| StoreError::NoRecord(self.id.clone()))?;
        let sealed = store.kept_arguments(&self.id).await?;
        let key = ArgumentsKey::open(store, &config.keys.sealing);
        if let Some(file) = self.arguments {
            return compare(&key.await?, &entry.record, &read(file)?, output);
        }
        let carried = match &sealed {
            None => Carried::Nothing,
            Some(sealed) => match key.await {
                Err(KeyError::Sealed) => Carried::Closed,
                key => Carried::Opened(key?.opened(&self.id, sealed)?),
            },
        };
        view::whole(&entry, &carried, output)
    }
}

/// What is kept of what the call carried.
pub(super) enum Carried {
    Nothing,
    /// Whoever asks has no key to it.
    Closed,
    Opened(Opened),
}

fn compare(
    key: &ArgumentsKey,
    record: &Record,
    arguments: &Value,
    output: &mut Output,
) -> Result<(), CliError> {
    let kept = record.detail.as_ref().and_then(|d| d.get("arguments"));
    let digest = kept.and_then(|kept| kept["digest"].as_str()).ok_or_else(|| {
        CliError::Usage("no digest is on record of what this call carried: it carried nothing, or none was kept (`audit.arguments`)".to_owned())
    })?;
    let carried = BTreeMap::from([(Value::from("arguments"), arguments.clone())]);
    if !key.is_of(&record.id, digest, &Value::from(carried)) {
        return Err(CliError::Usage(
            "the call had other arguments than these".to_owned(),
        ));
    }
    match output.is_json() {
        true => output.json(&json!({"record": record.id, "same": true})),
        false => output.line("these are the arguments of the call"),
    }
}

fn read(file: PathBuf) -> Result<Value, CliError> {
    let text = std::fs::read_to_string(&file).map_err(|source| CliError::Io {
        action: format!("read {}", file.display()),
        source,
    })?;
    Value::from_json_str(&text)
        .map_err(|e| CliError::Usage(format!("{} is not JSON: {e}", file.display())))
}
