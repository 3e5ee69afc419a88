//! One parsed key pair that signs access tokens.

use jwt_simple::prelude::{
    ECDSAP256KeyPairLike as _, ES256KeyPair, Ed25519KeyPair, EdDSAKeyPairLike as _, HeaderOptions,
    JWTClaims, RS256KeyPair, RSAKeyPairLike as _,
};
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Algorithm, KeyError, SignError};

const RSA_BITS: usize = 2048;

/// A key pair with what every token's header says.
#[derive(Debug)]
pub(super) struct SigningKey {
    pair: Pair,
    kid: String,
    header: HeaderOptions,
}

#[derive(Debug)]
enum Pair {
    EdDsa(Ed25519KeyPair),
    Es256(ES256KeyPair),
    Rs256(Box<RS256KeyPair>),
}

impl SigningKey {
    pub(super) fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        Ok(Self::new(match algorithm {
            Algorithm::EdDsa => Pair::EdDsa(Ed25519KeyPair::generate()),
            Algorithm::Es256 => Pair::Es256(ES256KeyPair::generate()),
            Algorithm::Rs256 => Pair::Rs256(Box::new(
                RS256KeyPair::generate(RSA_BITS).map_err(|_| KeyError::Generate(algorithm))?,
            )),
        }))
    }

    /// The key in a PKCS #8 PEM text, if it is one of that algorithm.
    pub(super) fn from_pem(algorithm: Algorithm, pem: &str) -> Option<Self> {
        let pair = match algorithm {
            Algorithm::EdDsa => Pair::EdDsa(Ed25519KeyPair::from_pem(pem).ok()?),
            Algorithm::Es256 => Pair::Es256(ES256KeyPair::from_pem(pem).ok()?),
            Algorithm::Rs256 => Pair::Rs256(Box::new(RS256KeyPair::from_pem(pem).ok()?)),
        };
        Some(Self::new(pair))
    }

    fn new(pair: Pair) -> Self {
        // `kid` is the key's thumbprint (RFC 7638): the same on every replica, and never reused.
        let (pair, kid) = match pair {
            Pair::EdDsa(key) => {
                let kid = key.jwk_thumbprint();
                (Pair::EdDsa(key.with_key_id(&kid)), kid)
            }
            Pair::Es256(key) => {
                let kid = key.jwk_thumbprint();
                (Pair::Es256(key.with_key_id(&kid)), kid)
            }
            Pair::Rs256(key) => {
                let kid = key.jwk_thumbprint();
                (Pair::Rs256(Box::new(key.with_key_id(&kid))), kid)
            }
        };
        Self {
            pair,
            kid,
            header: HeaderOptions {
                signature_type: Some("at+jwt".to_owned()),
                content_type: None,
            },
        }
    }

    pub(super) fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let pem = match &self.pair {
            Pair::EdDsa(key) => Ok(key.to_pem()),
            Pair::Es256(key) => key.to_pem(),
            Pair::Rs256(key) => key.to_pem(),
        };
        pem.map(Zeroizing::new)
            .map_err(|_| KeyError::Generate(self.algorithm()))
    }

    pub(super) fn sign<T: Serialize>(&self, claims: &T) -> Result<String, SignError> {
        self.sign_with(&self.header, claims)
    }

    pub(super) fn sign_as<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, SignError> {
        let header = HeaderOptions {
            signature_type: Some(typ.to_owned()),
            content_type: None,
        };
        self.sign_with(&header, claims)
    }

    fn sign_with<T: Serialize>(
        &self,
        header: &HeaderOptions,
        claims: &T,
    ) -> Result<String, SignError> {
        // The registered claims are the caller's own: everything here stays unset.
        let claims = JWTClaims {
            issued_at: None,
            expires_at: None,
            invalid_before: None,
            issuer: None,
            subject: None,
            audiences: None,
            jwt_id: None,
            nonce: None,
            custom: claims,
        };
        match &self.pair {
            Pair::EdDsa(key) => key.sign_with_options(claims, header),
            Pair::Es256(key) => key.sign_with_options(claims, header),
            Pair::Rs256(key) => key.sign_with_options(claims, header),
        }
        .map_err(|e| SignError::Claims(e.to_string()))
    }

    /// The public key with `kid`, `alg` and `use` (RFC 7517 section 4).
    pub(super) fn public_jwk(&self) -> Value {
        let jwk = match &self.pair {
            Pair::EdDsa(key) => key.public_key().to_jwk(),
            Pair::Es256(key) => key.public_key().to_jwk(),
            Pair::Rs256(key) => key.public_key().to_jwk(),
        };
        serde_json::from_str(&jwk).unwrap_or_default()
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::EdDsa(_) => Algorithm::EdDsa,
            Pair::Es256(_) => Algorithm::Es256,
            Pair::Rs256(_) => Algorithm::Rs256,
        }
    }

    pub(super) fn kid(&self) -> &str {
        &self.kid
    }
}
