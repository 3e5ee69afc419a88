//! From answers to a whole revision: what is new is staged until nothing is missing, and only then takes the place of what
//! is held.

use std::collections::BTreeMap;

use writ_policy::snapshot::FORMAT;

use super::parts::{Manifest, digest};
use super::signed::{self, SignedError};
use super::{HEAD, Head, INTRODUCTION, Introduction};

/// The most parts that a revision may have.
const MOST_PARTS: usize = 2048;

/// Why an answer is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It does not begin with a head.
    #[error("it is no snapshot, or was cut off")]
    Shape,
    /// Nobody who is trusted has signed it.
    #[error("{0}")]
    Signed(#[from] SignedError),
    /// Written for another version.
    #[error(
        "it has format {0}; this version reads format {FORMAT}: use a filter and a token service of one release"
    )]
    Format(u32),
    /// It is somebody else's.
    #[error("it is for the gateway `{0}`")]
    Audience(String),
    /// It is older than what is held.
    #[error(
        "it is older (revision {epoch}.{revision}) than what is held: after the service was restored from a backup, `writ snapshot new-epoch` lets it begin anew"
    )]
    Older {
        /// Its epoch.
        epoch: u64,
        /// Its revision.
        revision: u64,
    },
    /// Its time is over.
    #[error("it was good until {0} (seconds since 1970)")]
    Expired(u64),
    /// A document that the manifest does not name.
    #[error("it has a document that its head does not name, or that was changed or cut off")]
    Stray,
    /// A part cannot be used.
    #[error("{0}")]
    Part(String),
}

/// What an answer has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Nothing but that what is held is as it should be.
    Unchanged,
    /// Some of what is new; [`Assembly::missing`] says what to ask for.
    Some,
    /// The last of what is new: [`Assembly::staged`] is whole.
    Whole,
}

/// One revision, whole or not.
#[derive(Clone, Debug)]
pub struct Revision<T> {
    /// As it was signed last.
    pub head: Head,
    /// What it is made of; none until it is known.
    pub manifest: Option<Manifest>,
    /// What there is of it.
    pub parts: BTreeMap<String, T>,
    /// The lines that vouch for it to whoever trusts the key that this began with: all introductions, and the head.
    pub signed: String,
}

/// Makes something of a part.
type Read<'a, T> = &'a mut dyn FnMut(&Head, &str, &[u8]) -> Result<T, String>;

/// See the module. `T` is what a part is read as.
#[derive(Debug)]
pub struct Assembly<T> {
    audience: String,
    trusted: String,
    /// The introductions that have led to it.
    introduced: String,
    held: Option<Revision<T>>,
    staged: Option<Revision<T>>,
    /// What was staged before the head moved on.
    before: Option<Revision<T>>,
}

impl<T: Clone> Assembly<T> {
    /// Nothing yet, of a gateway of this id whose token service signs with the key of this thumbprint.
    #[must_use]
    pub fn new(audience: &str, trusted: &str) -> Self {
        Self {
            audience: audience.to_owned(),
            trusted: trusted.to_owned(),
            introduced: String::new(),
            held: None,
            staged: None,
            before: None,
        }
    }

    /// The thumbprint of the key that is trusted now.
    #[must_use]
    pub fn trusted(&self) -> &str {
        &self.trusted
    }

    /// What is in force.
    #[must_use]
    pub fn held(&self) -> Option<&Revision<T>> {
        self.held.as_ref()
    }

    /// What is to be in force next.
    #[must_use]
    pub fn staged(&self) -> Option<&Revision<T>> {
        self.staged.as_ref()
    }

    /// The digest of the manifest that needs not be sent again.
    #[must_use]
    pub fn known(&self) -> Option<&str> {
        let staged = self.staged.as_ref();
        let staged = staged.filter(|revision| revision.manifest.is_some());
        let known = staged.or(self.held.as_ref())?;
        Some(&known.head.manifest)
    }

    /// The names of parts that are missing, in their order.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let staged = self.staged.iter();
        let named = staged.flat_map(|staged| {
            let names = staged.manifest.iter().flat_map(Manifest::keys);
            names.filter(|name| !staged.parts.contains_key(*name))
        });
        named.map(String::as_str)
    }

    /// The staged revision is in force from now on.
    pub fn accept(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.held = Some(staged);
        }
    }

    /// The staged revision is of no use.
    pub fn reject(&mut self) {
        self.staged = None;
    }

    /// Takes an answer at `now` (seconds since 1970); `read` makes something of a part.
    ///
    /// # Errors
    /// Why it is refused. What is held stays as it is, and nothing is staged.
    pub fn take(
        &mut self,
        answer: &[u8],
        now: u64,
        mut read: impl FnMut(&Head, &str, &[u8]) -> Result<T, String>,
    ) -> Result<Taken, Refused> {
        let taken = self.try_take(answer, now, &mut read);
        if taken.is_err() {
            self.staged = None;
        }
        taken
    }

    fn try_take(&mut self, answer: &[u8], now: u64, read: Read<'_, T>) -> Result<Taken, Refused> {
        // A text that was cut off ends without the end of its last line.
        let answer = answer.strip_suffix(b"\n").ok_or(Refused::Shape)?;
        let mut lines = answer.split(|byte| *byte == b'\n').peekable();
        let (mut introduced, mut trusted) = (self.introduced.clone(), self.trusted.clone());
        let (head, line) = loop {
            let line = lines.next().ok_or(Refused::Shape)?;
            let line = std::str::from_utf8(line).map_err(|_| Refused::Shape)?;
            match signed::open::<Introduction>(line, INTRODUCTION, &trusted) {
                Ok(introduction) => {
                    trusted = introduction.introduces;
                    introduced = format!("{introduced}{line}\n");
                }
                Err(SignedError::Shape(_)) => {
                    break (signed::open::<Head>(line, HEAD, &trusted)?, line);
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.check(&head, now)?;
        let signed = format!("{introduced}{line}\n");
        (self.trusted, self.introduced) = (trusted, introduced);
        self.begin(head, signed);
        for line in lines {
            self.document(line, read)?;
        }
        Ok(self.standing())
    }

    fn check(&self, head: &Head, now: u64) -> Result<(), Refused> {
        if head.format != FORMAT {
            return Err(Refused::Format(head.format));
        }
        if head.aud != self.audience {
            return Err(Refused::Audience(head.aud.clone()));
        }
        if self
            .held
            .as_ref()
            .is_some_and(|held| !head.is_as_new_as(&held.head))
        {
            return Err(Refused::Older {
                epoch: head.epoch,
                revision: head.revision,
            });
        }
        if head.exp <= now {
            return Err(Refused::Expired(head.exp));
        }
        Ok(())
    }

    /// Stages the head's revision, with what is known of it already.
    fn begin(&mut self, head: Head, signed: String) {
        let same = |revision: &Revision<T>| revision.head.manifest == head.manifest;
        if let Some(held) = self.held.as_mut().filter(|held| same(held)) {
            (held.head, held.signed) = (head, signed);
            self.staged = None;
            return;
        }
        if let Some(staged) = self.staged.as_mut().filter(|staged| same(staged)) {
            (staged.head, staged.signed) = (head, signed);
            return;
        }
        self.before = self.staged.take();
        self.staged = Some(Revision {
            head,
            manifest: None,
            parts: BTreeMap::new(),
            signed,
        });
    }

    fn document(&mut self, text: &[u8], read: Read<'_, T>) -> Result<(), Refused> {
        let Some(staged) = self.staged.as_mut() else {
            return Err(Refused::Stray);
        };
        let digest = digest(text);
        let Some(manifest) = staged.manifest.as_ref() else {
            if digest != staged.head.manifest {
                return Err(Refused::Stray);
            }
            let manifest: Manifest = serde_json::from_slice(text).map_err(|_| Refused::Stray)?;
            if manifest.len() > MOST_PARTS {
                return Err(Refused::Part(format!(
                    "it has more than {MOST_PARTS} parts"
                )));
            }
            for known in self.held.iter().chain(&self.before.take()) {
                known.give(&manifest, staged);
            }
            staged.manifest = Some(manifest);
            return Ok(());
        };
        let mut is_named = false;
        for (name, _) in manifest.iter().filter(|(_, of)| **of == digest) {
            is_named = true;
            if !staged.parts.contains_key(name) {
                let part = read(&staged.head, name, text).map_err(Refused::Part)?;
                staged.parts.insert(name.clone(), part);
            }
        }
        if is_named {
            Ok(())
        } else {
            Err(Refused::Stray)
        }
    }

    /// Takes a document from elsewhere, if it is missing.
    ///
    /// # Errors
    /// When it is, and cannot be used.
    pub fn offer(
        &mut self,
        document: &[u8],
        mut read: impl FnMut(&Head, &str, &[u8]) -> Result<T, String>,
    ) -> Result<Taken, Refused> {
        match self.document(document, &mut read) {
            Ok(()) | Err(Refused::Stray) => Ok(self.standing()),
            Err(error) => Err(error),
        }
    }

    fn standing(&self) -> Taken {
        match &self.staged {
            None => Taken::Unchanged,
            Some(staged) => match &staged.manifest {
                Some(manifest) if manifest.len() == staged.parts.len() => Taken::Whole,
                _ => Taken::Some,
            },
        }
    }
}

impl<T> Revision<T> {
    /// The names and digests of the parts whose names begin so.
    pub fn digests(&self, begin: &str) -> impl Iterator<Item = (&String, &String)> {
        let all = self.manifest.iter().flatten();
        all.filter(move |(name, _)| name.starts_with(begin))
    }
}

impl<T: Clone> Revision<T> {
    /// Gives another revision the parts that both have.
    fn give(&self, manifest: &Manifest, to: &mut Self) {
        let own = self.manifest.iter().flatten();
        let same = own.filter(|(name, digest)| {
            self.head.iss == to.head.iss && manifest.get(*name) == Some(*digest)
        });
        for (name, _) in same {
            if let Some(part) = self.parts.get(name) {
                to.parts.insert(name.clone(), part.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
