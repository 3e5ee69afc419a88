//! Names that servers give out, sealed to the principal that they were given to.
//!
//! A server tells its callers apart by a session id that it made up, and knows the answer to a question of its own by the
//! id of the question. Whoever brings either is believed. So what leaves the gateway is not the server's id but that id
//! encrypted for one user, one agent and one server (XChaCha20-Poly1305): in anybody else's hands it opens to nothing.
//!
//! Sealing is a function of what is sealed: the nonce is a MAC of it. A server that repeats its session id with every
//! answer, or a stream that is taken up again and repeats a question, tells the client the same name again, and any worker
//! of any gateway with the key opens what another one has sealed.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac_sha256::HMAC;

use crate::message::Id;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;

/// The longest session id of a server that is passed on, in bytes.
pub const MAX_SESSION: usize = 2048;

/// The longest id of a server's question that is passed on, in bytes of JSON.
pub const MAX_QUESTION: usize = 512;

/// The longest method of a server's question that is passed on, in bytes.
const MAX_METHOD: usize = 128;

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// What is sealed is of one kind: what is one kind's name never opens as another's.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Session,
    Question,
}

impl Kind {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"writ session",
            Self::Question => b"writ question",
        }
    }

    /// The longest name, in characters.
    fn longest(self) -> usize {
        let bytes = match self {
            Self::Session => MAX_SESSION,
            Self::Question => MAX_METHOD + 1 + MAX_QUESTION,
        };
        (NONCE_BYTES + bytes + TAG_BYTES).div_ceil(3) * 4
    }
}

/// Whose name it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Principal<'a> {
    /// Who vouches for the subject (`iss`).
    pub issuer: &'a str,
    /// The user, or the agent where it acts for itself (`sub`).
    pub subject: &'a str,
    /// The agent (`client_id`).
    pub agent: &'a str,
    /// The server's id.
    pub server: &'a str,
}

/// A server's question to the client, as it was before it was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Its method.
    pub method: String,
    /// The id that the server gave it, as JSON.
    pub id: String,
}

/// Why a name cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// MCP 2025-11-25, transports, session management: visible ASCII.
    #[error(
        "the server's session id is empty, not visible ASCII, or longer than {MAX_SESSION} bytes"
    )]
    Session,
    /// Too long to come back.
    #[error(
        "the server asks the client with an id longer than {MAX_QUESTION} bytes or a method longer than {MAX_METHOD}"
    )]
    Question,
    /// No server's question can be passed on before there is a key.
    #[error("the server asks the client, and this proxy has no key to seal its question with")]
    NoKey,
    /// No text is too long for the cipher, but it says it could be.
    #[error("the cipher failed")]
    Cipher,
}

/// Seals and opens the names of one server.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    nonces: [u8; KEY_BYTES],
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(…)")
    }
}

/// The key of one server's names, from the key of an installation.
#[must_use]
pub fn key_of_server(installation: &[u8; KEY_BYTES], server: &str) -> [u8; KEY_BYTES] {
    let mut mac = HMAC::new(installation);
    mac.update(b"writ seal key of a server\0");
    mac.update(server);
    mac.finalize()
}

impl Sealer {
    /// With the key of a server ([`key_of_server`]).
    #[must_use]
    pub fn new(key: &[u8; KEY_BYTES]) -> Self {
        let cipher_key = HMAC::mac(b"writ seal: cipher", key);
        Self {
            cipher: XChaCha20Poly1305::new(&cipher_key.into()),
            nonces: HMAC::mac(b"writ seal: nonces", key),
        }
    }

    /// What a client is to know a server's session as.
    ///
    /// # Errors
    /// [`SealError::Session`] when the server's id is none.
    pub fn seal_session(&self, principal: &Principal<'_>, id: &str) -> Result<String, SealError> {
        if id.is_empty() || id.len() > MAX_SESSION || !id.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(SealError::Session);
        }
        self.seal(&bound(Kind::Session, principal, None), id)
    }

    /// The session id that the server gave, when it was given to this principal.
    #[must_use]
    pub fn open_session(&self, principal: &Principal<'_>, sealed: &str) -> Option<String> {
        self.open(
            Kind::Session,
            &bound(Kind::Session, principal, None),
            sealed,
        )
    }

    /// The id with which a client is to answer a server's question, asked within a session (the server's id of it), if any.
    ///
    /// # Errors
    /// [`SealError::Question`] when the question's id or method is too long.
    pub fn seal_question(
        &self,
        principal: &Principal<'_>,
        session: Option<&str>,
        method: &str,
        id: &Id,
    ) -> Result<String, SealError> {
        let id = id.to_string();
        if id.len() > MAX_QUESTION || method.len() > MAX_METHOD || method.contains('\0') {
            return Err(SealError::Question);
        }
        let plain = format!("{method}\0{id}");
        self.seal(&bound(Kind::Question, principal, session), &plain)
    }

    /// The question that an answer is for, when this principal was asked it within this session.
    #[must_use]
    pub fn open_question(
        &self,
        principal: &Principal<'_>,
        session: Option<&str>,
        sealed: &str,
    ) -> Option<Question> {
        let bound = bound(Kind::Question, principal, session);
        let plain = self.open(Kind::Question, &bound, sealed)?;
        let (method, id) = plain.split_once('\0')?;
        Some(Question {
            method: method.to_owned(),
            id: id.to_owned(),
        })
    }

    fn seal(&self, bound: &[u8], plain: &str) -> Result<String, SealError> {
        let nonce = self.nonce(bound, plain);
        let payload = Payload {
            msg: plain.as_bytes(),
            aad: bound,
        };
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|_| SealError::Cipher)?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    fn open(&self, kind: Kind, bound: &[u8], sealed: &str) -> Option<String> {
        if sealed.len() > kind.longest() {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let payload = Payload {
            msg: sealed,
            aad: bound,
        };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(plain).ok()
    }

    fn nonce(&self, bound: &[u8], plain: &str) -> [u8; NONCE_BYTES] {
        let mut mac = HMAC::new(self.nonces);
        mac.update((bound.len() as u64).to_be_bytes());
        mac.update(bound);
        mac.update(plain);
        let mac = mac.finalize();
        let mut nonce = [0; NONCE_BYTES];
        for (to, from) in nonce.iter_mut().zip(mac) {
            *to = from;
        }
        nonce
    }
}

/// What a name is good for: each part with its length, so that no two read alike.
fn bound(kind: Kind, principal: &Principal<'_>, session: Option<&str>) -> Vec<u8> {
    let Principal {
        issuer,
        subject,
        agent,
        server,
    } = *principal;
    let mut bound = kind.label().to_vec();
    for part in [
        Some(issuer),
        Some(subject),
        Some(agent),
        Some(server),
        session,
    ] {
        match part {
            Some(part) => {
                bound.push(1);
                bound.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bound.extend_from_slice(part.as_bytes());
            }
            None => bound.push(0),
        }
    }
    bound
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Principal<'static> = Principal {
        issuer: "https://issuer.example",
        subject: "alice",
        agent: "assistant",
        server: "ledger",
    };

    fn sealer() -> Sealer {
        Sealer::new(&key_of_server(&[7; KEY_BYTES], "ledger"))
    }

    /// Everybody but Alice's assistant at the ledger.
    fn others() -> [Principal<'static>; 5] {
        [
            Principal {
                subject: "bob",
                ..ALICE
            },
            Principal {
                agent: "other",
                ..ALICE
            },
            Principal {
                server: "crm",
                ..ALICE
            },
            Principal {
                issuer: "https://other.example",
                ..ALICE
            },
            // The same letters, cut differently.
            Principal {
                subject: "aliceassi",
                agent: "stant",
                ..ALICE
            },
        ]
    }

    #[test]
    fn a_session_opens_for_its_principal_on_any_worker_and_for_nobody_else() {
        let sealed = sealer().seal_session(&ALICE, "a1b2").unwrap();
        assert_eq!(
            sealer().open_session(&ALICE, &sealed).as_deref(),
            Some("a1b2")
        );
        assert!(!sealed.contains("a1b2"));
        for other in others() {
            assert_eq!(sealer().open_session(&other, &sealed), None, "{other:?}");
        }
        for key in [
            key_of_server(&[8; 32], "ledger"),
            key_of_server(&[7; 32], "crm"),
        ] {
            assert_eq!(Sealer::new(&key).open_session(&ALICE, &sealed), None);
        }
    }

    #[test]
    fn what_is_sealed_again_has_the_same_name_and_what_differs_another() {
        let seal = |id| sealer().seal_session(&ALICE, id).unwrap();
        assert_eq!(seal("one"), seal("one"));
        assert_ne!(seal("one"), seal("two"));
        assert_ne!(seal("one").get(..32), seal("two").get(..32), "the nonces");
        let bobs = sealer().seal_session(&others()[0], "one").unwrap();
        assert_ne!(seal("one").get(..32), bobs.get(..32), "the nonces");
    }

    #[test]
    fn an_answer_is_good_for_its_question_its_session_and_its_principal() {
        let seal = |session, id: &Id| {
            sealer()
                .seal_question(&ALICE, session, "elicitation/create", id)
                .unwrap()
        };
        for id in [
            Id::Number(7),
            Id::String("7".to_owned()),
            Id::String("a\"\n\0é".to_owned()),
        ] {
            let sealed = seal(Some("s"), &id);
            let open = |principal: &Principal<'_>, session: Option<&str>| {
                sealer().open_question(principal, session, &sealed)
            };
            let question = Question {
                method: "elicitation/create".to_owned(),
                id: id.to_string(),
            };
            assert_eq!(open(&ALICE, Some("s")), Some(question));
            assert_eq!(open(&ALICE, Some("t")), None);
            assert_eq!(open(&ALICE, None), None);
            for other in others() {
                assert_eq!(open(&other, Some("s")), None, "{other:?}");
            }
        }
        assert_ne!(
            seal(None, &Id::Number(7)),
            seal(None, &Id::String("7".to_owned()))
        );
        assert_ne!(seal(None, &Id::Number(7)), seal(Some(""), &Id::Number(7)));
    }

    #[test]
    fn a_session_is_no_question_and_a_question_no_session() {
        let session = sealer().seal_session(&ALICE, "ping").unwrap();
        assert_eq!(sealer().open_question(&ALICE, None, &session), None);
        let question = sealer()
            .seal_question(&ALICE, None, "ping", &Id::Number(1))
            .unwrap();
        assert_eq!(sealer().open_session(&ALICE, &question), None);
    }

    #[test]
    fn a_name_fits_a_header_and_an_id() {
        let session = sealer()
            .seal_session(&ALICE, &"s".repeat(MAX_SESSION))
            .unwrap();
        assert!(session.len() <= Kind::Session.longest());
        assert!(
            session
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        );
        assert!(sealer().open_session(&ALICE, &session).is_some());
        let (method, id) = (
            "m".repeat(MAX_METHOD),
            Id::String("i".repeat(MAX_QUESTION - 2)),
        );
        let question = sealer().seal_question(&ALICE, None, &method, &id).unwrap();
        assert!(question.len() <= crate::message::MAX_NAME);
        assert!(sealer().open_question(&ALICE, None, &question).is_some());
    }

    #[test]
    fn what_is_no_session_id_is_not_passed_on() {
        for id in ["", "a b", "a\n", "é", &"s".repeat(MAX_SESSION + 1)] {
            assert_eq!(sealer().seal_session(&ALICE, id), Err(SealError::Session));
        }
        let long = Id::String("i".repeat(MAX_QUESTION));
        for (method, id) in [
            ("m", &long),
            ("a\0b", &Id::Number(1)),
            (&*"m".repeat(MAX_METHOD + 1), &Id::Number(1)),
        ] {
            let sealed = sealer().seal_question(&ALICE, None, method, id);
            assert_eq!(sealed, Err(SealError::Question));
        }
    }

    #[test]
    fn what_was_not_sealed_here_opens_to_nothing() {
        let sealed = sealer().seal_session(&ALICE, "one").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert_eq!(sealer().open_session(&ALICE, &changed), None, "{at}");
        }
        for other in [
            "",
            "a",
            "one",
            &sealed[1..],
            &sealed[..sealed.len() - 1],
            &format!("{sealed}="),
            &"A".repeat(1 << 20),
        ] {
            assert_eq!(sealer().open_session(&ALICE, other), None);
        }
    }

    #[test]
    fn its_debug_form_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", sealer()), "Sealer(…)");
    }
}
