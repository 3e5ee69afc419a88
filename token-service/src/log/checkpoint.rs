//! What the log says of itself, signed: how many records it has, and the root of their tree (C2SP tlog-checkpoint), as a signed note
//! (C2SP signed-note) under a key that signs nothing else. Whoever keeps one can tell later whether anything before it
//! was changed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use signed_note::{Note, NoteError, Signature, StandardVerifier, Verifier, VerifierList, key_id};
use tlog_tiles::{Checkpoint, Hash};

/// Ed25519 of the note's text.
const PLAIN: u8 = 1;
/// Ed25519 of the note's text at a time (C2SP tlog-cosignature).
const COSIGNATURE: u8 = 4;

/// Why a text is no checkpoint that counts.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Not written as one.
    #[error("it is not a checkpoint: {0}")]
    Malformed(&'static str),
    /// Of another log.
    #[error("it is a checkpoint of {found:?}, not of {wanted:?}")]
    Origin {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// Signed by others only.
    #[error("it bears no signature of {0}")]
    Unsigned(String),
    /// Not signed by who should have signed it.
    #[error("its signature is not good: {0}")]
    Signature(String),
    /// No key.
    #[error(
        "{0:?} is no key: it must be NAME+ID+KEY with the ID of that key, as `writ audit key` prints it"
    )]
    Key(String),
}

/// What signs checkpoints, or cosigns those of others.
pub struct NoteKey {
    name: String,
    kind: u8,
    key: SigningKey,
}

impl std::fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoteKey({})", self.public())
    }
}

impl NoteKey {
    /// The log's key.
    #[must_use]
    pub fn log(origin: &str, seed: &[u8; 32]) -> Self {
        Self::new(origin, PLAIN, seed)
    }

    /// A witness's.
    #[must_use]
    pub fn witness(name: &str, seed: &[u8; 32]) -> Self {
        Self::new(name, COSIGNATURE, seed)
    }

    fn new(name: &str, kind: u8, seed: &[u8; 32]) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            key: SigningKey::from_bytes(seed),
        }
    }

    /// Its name: the log's origin, or the witness's.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key as others are told it: `name+id+key`.
    #[must_use]
    pub fn public(&self) -> String {
        let key = self.encoded();
        let id = key_id(&self.name, &key);
        format!("{}+{id:08x}+{}", self.name, STANDARD.encode(key))
    }

    fn encoded(&self) -> Vec<u8> {
        [&[self.kind], &self.key.verifying_key().to_bytes()[..]].concat()
    }

    /// The checkpoint of a tree.
    ///
    /// # Errors
    /// When the log's name cannot stand in one.
    pub fn checkpoint(&self, size: u64, root: Hash) -> Result<String, CheckpointError> {
        let text = Checkpoint::new(&self.name, size, root, "")
            .map_err(|_| CheckpointError::Malformed("the log has no name"))?
            .to_bytes();
        let signature = self.key.sign(&text).to_bytes().to_vec();
        let note = Note::new(&text, &[self.signature(signature)?]).map_err(signature_error)?;
        String::from_utf8(note.to_bytes()).map_err(|_| CheckpointError::Malformed("not UTF-8"))
    }

    /// The line that cosigns a checkpoint's text at this time (seconds since 1970).
    ///
    /// # Errors
    /// When the witness's name cannot stand in one.
    pub fn cosign(&self, text: &[u8], time: u64) -> Result<String, CheckpointError> {
        let signature = self.key.sign(&cosigned(text, time)).to_bytes();
        let signature = [&time.to_be_bytes()[..], &signature].concat();
        let line = self.signature(signature)?.to_bytes();
        String::from_utf8(line).map_err(|_| CheckpointError::Malformed("not UTF-8"))
    }

    fn signature(&self, signature: Vec<u8>) -> Result<Signature, CheckpointError> {
        let id = key_id(&self.name, &self.encoded());
        Signature::new(self.name.clone(), id, signature).map_err(signature_error)
    }
}

fn cosigned(text: &[u8], time: u64) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

fn signature_error(error: NoteError) -> CheckpointError {
    CheckpointError::Signature(error.to_string())
}

/// Whose checkpoints count: a log's public key, or a witness's.
#[derive(Clone)]
pub struct PublicKey(Known);

#[derive(Clone)]
enum Known {
    Log(StandardVerifier),
    Witness(Witness),
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({})", self.name())
    }
}

impl PublicKey {
    /// Reads what [`NoteKey::public`] prints.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let text = text.trim();
        let known = match StandardVerifier::new(text) {
            Ok(log) => Some(Known::Log(log)),
            Err(_) => Witness::parse(text).map(Known::Witness),
        };
        let known = known.ok_or_else(|| CheckpointError::Key(text.to_owned()))?;
        Ok(Self(known))
    }

    /// The log's, or the witness's.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.0 {
            Known::Log(log) => log.name(),
            Known::Witness(witness) => &witness.name,
        }
    }

    fn verifiers(&self) -> VerifierList {
        VerifierList::new(match &self.0 {
            Known::Log(log) => vec![Box::new(log.clone())],
            Known::Witness(witness) => vec![Box::new(witness.clone())],
        })
    }
}

/// What a checkpoint says, once its signature is verified.
#[derive(Clone, Debug)]
pub struct Head {
    /// Whose log.
    pub origin: String,
    /// How many records.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// The signed text.
    pub text: Vec<u8>,
}

impl Head {
    /// Reads a checkpoint that this key has signed.
    ///
    /// # Errors
    /// When it is none, or not signed by it.
    pub fn read(note: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let note = Note::from_bytes(note.as_bytes())
            .map_err(|_| malformed("a text, an empty line and signatures are what it takes"))?;
        note.verify(&key.verifiers()).map_err(|error| match error {
            NoteError::UnverifiedNote => CheckpointError::Unsigned(key.name().to_owned()),
            other => signature_error(other),
        })?;
        let head = Checkpoint::from_bytes(note.text())
            .map_err(|_| malformed("origin, size and root are what its text must say"))?;
        if let Known::Log(log) = &key.0
            && log.name() != head.origin()
        {
            return Err(CheckpointError::Origin {
                found: head.origin().to_owned(),
                wanted: log.name().to_owned(),
            });
        }
        Ok(Self {
            origin: head.origin().to_owned(),
            size: head.size(),
            root: *head.hash(),
            text: note.text().to_vec(),
        })
    }
}

/// The first line of a note: whose checkpoint it claims to be.
#[must_use]
pub fn origin_of(note: &str) -> Option<&str> {
    note.lines().next()
}

/// Verifies cosignatures.
#[derive(Clone)]
struct Witness {
    name: String,
    id: u32,
    key: VerifyingKey,
}

impl Witness {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '+');
        let (name, id, key) = (parts.next()?, parts.next()?, parts.next()?);
        let key = STANDARD.decode(key).ok()?;
        let id = u32::from_str_radix(id, 16).ok()?;
        let (COSIGNATURE, bytes) = key.split_first().map(|(kind, rest)| (*kind, rest))? else {
            return None;
        };
        let verifying = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        (id == key_id(name, &key) && signed_note::is_key_name_valid(name)).then(|| Self {
            name: name.to_owned(),
            id,
            key: verifying,
        })
    }
}

impl Verifier for Witness {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let Some((time, signature)) = signature.split_first_chunk::<8>() else {
            return false;
        };
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else {
            return false;
        };
        let cosigned = cosigned(text, u64::from_be_bytes(*time));
        self.key.verify_strict(&cosigned, &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Hash = Hash([7; 32]);

    #[test]
    fn a_checkpoint_is_read_by_who_knows_the_key_and_by_nobody_else() {
        let key = NoteKey::log("writ.example/audit", &[1; 32]);
        let note = key.checkpoint(42, ROOT).unwrap();
        let public = PublicKey::parse(&key.public()).unwrap();
        let head = Head::read(&note, &public).unwrap();
        assert_eq!((head.size, head.root), (42, ROOT));
        assert_eq!(origin_of(&note), Some("writ.example/audit"));

        let other =
            PublicKey::parse(&NoteKey::log("writ.example/audit", &[2; 32]).public()).unwrap();
        Head::read(&note, &other).unwrap_err();
        Head::read(&note.replacen("42", "43", 1), &public).unwrap_err();
        for (kind, wrong) in [("cut", &note[..note.len() - 9]), ("empty", "")] {
            assert!(Head::read(wrong, &public).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_checkpoint_that_names_another_log_is_refused_although_the_key_signed_it() {
        let key = NoteKey::log("writ.example/audit", &[1; 32]);
        let text = Checkpoint::new("other.example", 1, ROOT, "")
            .unwrap()
            .to_bytes();
        let signature = key
            .signature(key.key.sign(&text).to_bytes().to_vec())
            .unwrap();
        let note = Note::new(&text, &[signature]).unwrap().to_bytes();
        let read = Head::read(
            std::str::from_utf8(&note).unwrap(),
            &PublicKey::parse(&key.public()).unwrap(),
        );
        assert!(
            matches!(read, Err(CheckpointError::Origin { .. })),
            "{read:?}"
        );
    }

    #[test]
    fn a_cosignature_counts_as_the_witnesss_and_only_at_its_time() {
        let log = NoteKey::log("writ.example/audit", &[1; 32]);
        let witness = NoteKey::witness("witness.example", &[3; 32]);
        let note = log.checkpoint(42, ROOT).unwrap();
        let head = Head::read(&note, &PublicKey::parse(&log.public()).unwrap()).unwrap();
        let line = witness.cosign(&head.text, 1_700_000_000).unwrap();
        let public = PublicKey::parse(&witness.public()).unwrap();
        assert_eq!(
            Head::read(&format!("{note}{line}"), &public).unwrap().size,
            42
        );
        Head::read(&note, &public).unwrap_err();
        let later = witness.cosign(&head.text, 1_700_000_001).unwrap();
        assert_ne!(line, later);
    }

    /// Keys, note and cosignature as pyca/cryptography and hashlib make them from the specifications.
    #[test]
    fn notes_are_what_another_implementation_makes() {
        let log = NoteKey::log(
            "writ.example.com/audit",
            b"llllllllllllllllllllllllllllllll",
        );
        let witness = NoteKey::witness("witness.example.com", b"wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww");
        assert_eq!(
            log.public(),
            "writ.example.com/audit+92fc93e9+AW1E+Tn4KdQ1mLze3akN4B22n6pQyqM+jGwyikuQDU2s"
        );
        assert_eq!(
            witness.public(),
            "witness.example.com+35f0a9bb+BMhTrQ8M0rYZrqks7sT9VqJNZJnVhM55JX5Fz9gTm2Cn"
        );
        let note = log.checkpoint(42, ROOT).unwrap();
        assert_eq!(
            note,
            "writ.example.com/audit\n42\nBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n\n— writ.example.com/audit kvyT6dvUuoex/1aUWjw/SxeSvc88o2qK/4/sDzroFnYM72nFuSCS/XnxbhxWQ6xDFLzOHDFy0KVljkyR2pO9iskQ8QI=\n"
        );
        let (text, _) = note.split_once("\n\n").unwrap();
        let line = witness.cosign(format!("{text}\n").as_bytes(), 1_700_000_000);
        assert_eq!(
            line.unwrap(),
            "— witness.example.com NfCpuwAAAABlU/EA6jGirBgHMLu0oLki4UyfXH/wd93N+Yz8C8tcusTZBi5SQrN5qe9lZjAk8mxeiDE2r5W0t/o0omR8Nn9C2rPSAQ==\n"
        );
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        for wrong in [
            "",
            "a+b",
            "name+00000000+AQ==",
            "writ.example/audit+zzzzzzzz+AAAA",
        ] {
            assert!(PublicKey::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
