//! Public keys as OPA takes them: a certificate or a public key in PEM (RFC 7468), a JWK or a set of them (RFC 7517).
//!
//! Of a certificate its key counts and nothing else: whoever writes it into a policy has looked at it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use rsa::pkcs8::der::{Decode as _, SliceReader, Tag, TagNumber, Tagged as _, pem};
use rsa::pkcs8::spki::SubjectPublicKeyInfoRef;
use rsa::traits::PublicKeyParts as _;
use rsa::{BigUint, RsaPublicKey};
use serde_json::Value as Json;

use super::signature::{Algorithm, PublicKey};

/// The lengths of RSA keys, in bits: as of the keys of issuers.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// RFC 8017 appendix A.1.
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// RFC 5480 section 2.1.1.
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
/// RFC 8410 section 3.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Keys to check a signature with.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
struct Key {
    key: PublicKey,
    /// `kid`.
    id: Option<String>,
    /// `alg`: what it is to be used with alone.
    algorithm: Option<String>,
}

impl Keys {
    /// Reads keys; `None` when one of them is none. A key of a kind that is not known here is one that has signed nothing.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.trim_start().starts_with("-----BEGIN ") {
            return Some(Self(vec![Key {
                key: from_pem(text.trim())?,
                id: None,
                algorithm: None,
            }]));
        }
        let json: Json = serde_json::from_str(text).ok()?;
        let keys = match json.get("keys") {
            Some(keys) => keys.as_array()?.as_slice(),
            None => std::slice::from_ref(&json),
        };
        keys.iter().map(from_jwk).collect::<Option<_>>().map(Self)
    }

    /// The keys that may have made a signature by `algorithm`: the one that the token names, where it is here, or any.
    pub(super) fn candidates<'a>(
        &'a self,
        named: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a PublicKey> {
        let is_named = move |key: &&Key| named.is_some() && key.id.as_deref() == named;
        let only = self.0.iter().find(is_named);
        self.0
            .iter()
            .filter(move |key| only.is_none_or(|only| std::ptr::eq(only, *key)))
            .filter(move |key| key.key.is_for(algorithm))
            .filter(move |key| {
                let meant = key.algorithm.as_deref();
                meant.is_none_or(|meant| Algorithm::named(meant) == Some(algorithm))
            })
            .map(|key| &key.key)
    }
}

fn from_pem(text: &str) -> Option<PublicKey> {
    let (label, der) = pem::decode_vec(text.as_bytes()).ok()?;
    match label {
        "CERTIFICATE" => from_certificate(&der),
        "PUBLIC KEY" => from_spki(&SubjectPublicKeyInfoRef::from_der(&der).ok()?),
        _ => None,
    }
}

/// The key of a certificate (RFC 5280 section 4.1).
fn from_certificate(der: &[u8]) -> Option<PublicKey> {
    let certificate = AnyRef::from_der(der).ok()?;
    let signed = AnyRef::decode(&mut SliceReader::new(certificate.value()).ok()?).ok()?;
    let mut fields = SliceReader::new(signed.value()).ok()?;
    let mut field = || AnyRef::decode(&mut fields).ok();
    // The version may be missing; then serial number, signature, issuer, validity and subject.
    let version = Tag::ContextSpecific {
        constructed: true,
        number: TagNumber::N0,
    };
    let versioned = field()?.tag() == version;
    for _ in 0..(if versioned { 5 } else { 4 }) {
        field()?;
    }
    from_spki(&SubjectPublicKeyInfoRef::decode(&mut fields).ok()?)
}

fn from_spki(info: &SubjectPublicKeyInfoRef<'_>) -> Option<PublicKey> {
    match info.algorithm.oid {
        RSA => rsa_key(RsaPublicKey::try_from(info.clone()).ok()?),
        EC if info.algorithm.parameters_oid().ok()? == P256 => {
            p256_key(info.subject_public_key.as_bytes()?)
        }
        ED25519 => ed25519_key(info.subject_public_key.as_bytes()?),
        _ => Some(PublicKey::Other),
    }
}

fn from_jwk(jwk: &Json) -> Option<Key> {
    let member = |name: &str| jwk.get(name).and_then(Json::as_str);
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(member(name)?).ok();
    let key = match (member("kty")?, member("crv")) {
        // What is kept secret does not belong into a policy, nor is it a public key.
        _ if jwk.get("d").is_some() => PublicKey::Other,
        ("RSA", _) => {
            let number = |name| Some(BigUint::from_bytes_be(&bytes(name)?));
            rsa_key(RsaPublicKey::new(number("n")?, number("e")?).ok()?)?
        }
        ("EC", Some("P-256")) => p256_key(&[vec![4], bytes("x")?, bytes("y")?].concat())?,
        ("OKP", Some("Ed25519")) => ed25519_key(&bytes("x")?)?,
        _ => PublicKey::Other,
    };
    Some(Key {
        key,
        id: member("kid").map(str::to_owned),
        algorithm: member("alg").map(str::to_owned),
    })
}

fn rsa_key(key: RsaPublicKey) -> Option<PublicKey> {
    RSA_BITS
        .contains(&key.n().bits())
        .then(|| PublicKey::Rsa(Box::new(key)))
}

fn p256_key(point: &[u8]) -> Option<PublicKey> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?;
    Some(PublicKey::P256(Box::new(key)))
}

/// A key of small order, for which there are signatures of any message, is none.
fn ed25519_key(bytes: &[u8]) -> Option<PublicKey> {
    let key = ed25519_dalek::VerifyingKey::try_from(bytes).ok()?;
    (!key.is_weak()).then(|| PublicKey::Ed25519(Box::new(key)))
}
