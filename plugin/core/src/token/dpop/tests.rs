use jwt_simple::prelude::{ES256KeyPair, Ed25519KeyPair, EdDSAKeyPairLike as _};
use p256::ecdsa::signature::Signer as _;
use serde_json::{Value as Json, json};

use super::*;

const URL: &str = "https://gateway.example/ledger/mcp";
const NOW: u64 = 1_800_000_000;

/// The proof of RFC 9449 section 5, figure 2.
const RFC_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";

/// The proof of RFC 9449 section 7.1, figure 13, its token and its key's thumbprint (section 6.1, figure 8).
const RFC_BOUND_PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
const RFC_TOKEN: &str = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
const RFC_THUMBPRINT: &str = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";

fn expected<'a>() -> Expected<'a> {
    Expected {
        method: "POST",
        url: URL,
        token: None,
        now: NOW,
        skew: 5,
    }
}

fn encode(json: &Json) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

struct Holder(Ed25519KeyPair);

impl Holder {
    fn new() -> Self {
        Self(Ed25519KeyPair::generate())
    }

    fn jwk(&self) -> Json {
        serde_json::from_str(&self.0.public_key().to_jwk()).unwrap()
    }

    fn header(&self) -> Json {
        json!({"typ": "dpop+jwt", "alg": "EdDSA", "jwk": self.jwk()})
    }

    fn sign(&self, header: &Json, claims: &Json) -> String {
        let input = format!("{}.{}", encode(header), encode(claims));
        let signature = self.0.key_pair().as_ref().sk.sign(input.as_bytes(), None);
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    fn with_header(&self, changes: Json) -> Result<Proof, ProofError> {
        let header = changed(self.header(), changes);
        Proof::check(&self.sign(&header, &claims()), &expected())
    }

    fn with_claims(&self, changes: Json) -> Result<Proof, ProofError> {
        let claims = changed(claims(), changes);
        Proof::check(&self.sign(&self.header(), &claims), &expected())
    }
}

fn claims() -> Json {
    json!({"jti": "one", "htm": "POST", "htu": URL, "iat": NOW})
}

/// With some members changed; those changed to null are left out.
fn changed(mut object: Json, changes: Json) -> Json {
    let members = object.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    object
}

#[test]
fn the_examples_of_the_rfc_are_good_for_what_they_say_and_nothing_else() {
    let at_token_endpoint = Expected {
        url: "https://server.example.com/token",
        now: 1_562_262_616,
        ..expected()
    };
    let proof = Proof::check(RFC_PROOF, &at_token_endpoint).unwrap();
    assert_eq!(proof.thumbprint, RFC_THUMBPRINT);
    assert_eq!(proof.nonce, None);
    let at_resource = Expected {
        method: "GET",
        url: "https://resource.example.org/protectedresource",
        token: Some(RFC_TOKEN),
        now: 1_562_262_618,
        skew: 0,
    };
    let bound = |expected: &Expected<'_>| {
        Proof::check_bound(Some(RFC_BOUND_PROOF), RFC_THUMBPRINT, expected)
    };
    assert!(bound(&at_resource).is_ok());
    for (elsewhere, error) in [
        (
            Expected {
                method: "POST",
                ..at_resource
            },
            ProofError::Method,
        ),
        (
            Expected {
                url: "https://resource.example.org/",
                ..at_resource
            },
            ProofError::Url,
        ),
        (
            Expected {
                token: Some("another"),
                ..at_resource
            },
            ProofError::Token,
        ),
        (
            Expected {
                now: 1_562_262_618 + LIFE_S,
                ..at_resource
            },
            ProofError::Time,
        ),
    ] {
        assert_eq!(bound(&elsewhere), Err(error));
    }
    // Made for the token endpoint, it says nothing about any token.
    let without_hash = Expected {
        token: Some(RFC_TOKEN),
        ..at_token_endpoint
    };
    assert_eq!(
        Proof::check(RFC_PROOF, &without_hash),
        Err(ProofError::Token)
    );
    let other_key = Proof::check_bound(Some(RFC_BOUND_PROOF), "other", &at_resource);
    assert_eq!(other_key, Err(ProofError::OtherKey));
    let none = Proof::check_bound(None, RFC_THUMBPRINT, &at_resource);
    assert_eq!(none, Err(ProofError::Missing));
}

#[test]
fn a_key_is_honoured_only_if_it_is_public_and_of_the_kind_that_signs() {
    let holder = Holder::new();
    assert!(holder.with_header(json!({})).is_ok());
    assert!(holder.with_header(json!({"alg": "Ed25519"})).is_ok());
    let mut private = holder.jwk();
    private["d"] = json!(URL_SAFE_NO_PAD.encode(holder.0.to_bytes().first_chunk::<32>().unwrap()));
    let other: Json =
        serde_json::from_str(&ES256KeyPair::generate().public_key().to_jwk()).unwrap();
    for (changes, error) in [
        (json!({"typ": "JWT"}), ProofError::Type),
        (json!({"typ": "at+jwt"}), ProofError::Type),
        (json!({"typ": null}), ProofError::Type),
        (json!({"alg": "none"}), ProofError::Algorithm),
        (json!({"alg": "HS256"}), ProofError::Algorithm),
        (json!({"alg": "RS256"}), ProofError::Algorithm),
        (json!({"alg": null}), ProofError::Algorithm),
        (json!({"alg": "ES256"}), ProofError::Key),
        (json!({"jwk": null}), ProofError::Key),
        (json!({"jwk": "x"}), ProofError::Key),
        (json!({"jwk": private}), ProofError::Key),
        (json!({"jwk": other}), ProofError::Key),
        (json!({"jwk": {"kty": "oct", "k": "AA"}}), ProofError::Key),
        (json!({"jku": "https://evil.test/"}), ProofError::Key),
        (json!({"x5c": ["AA"]}), ProofError::Key),
        (json!({"crit": ["x"]}), ProofError::Key),
    ] {
        assert_eq!(holder.with_header(changes.clone()), Err(error), "{changes}");
    }
    let stranger = Holder::new();
    let stolen_key = stranger.sign(&holder.header(), &claims());
    assert_eq!(
        Proof::check(&stolen_key, &expected()),
        Err(ProofError::Signature)
    );
}

#[test]
fn a_proof_is_for_one_request_of_this_minute() {
    let holder = Holder::new();
    for (changes, error) in [
        (json!({"jti": null}), ProofError::Incomplete),
        (json!({"jti": ""}), ProofError::Incomplete),
        (json!({"jti": "x".repeat(257)}), ProofError::Incomplete),
        (json!({"htm": "GET"}), ProofError::Method),
        (json!({"htm": "post"}), ProofError::Method),
        (json!({"htm": null}), ProofError::Incomplete),
        (
            json!({"htu": "https://gateway.example/ledger"}),
            ProofError::Url,
        ),
        (
            json!({"htu": "https://gateway.example/ledger/mcp/"}),
            ProofError::Url,
        ),
        (
            json!({"htu": "http://gateway.example/ledger/mcp"}),
            ProofError::Url,
        ),
        (
            json!({"htu": "https://gateway.example:8443/ledger/mcp"}),
            ProofError::Url,
        ),
        (
            json!({"htu": "https://evil.test@gateway.example/ledger/mcp"}),
            ProofError::Url,
        ),
        (
            json!({"htu": "https://evil.test/ledger/mcp"}),
            ProofError::Url,
        ),
        (json!({"htu": "/ledger/mcp"}), ProofError::Url),
        (json!({"htu": null}), ProofError::Incomplete),
        (json!({"iat": NOW - LIFE_S - 5}), ProofError::Time),
        (json!({"iat": NOW + 6}), ProofError::Time),
        (json!({"iat": "now"}), ProofError::Incomplete),
        (json!({"iat": -1}), ProofError::Time),
        (json!({"nonce": 1}), ProofError::Incomplete),
    ] {
        assert_eq!(holder.with_claims(changes.clone()), Err(error), "{changes}");
    }
    for good in [
        json!({"htu": "HTTPS://Gateway.Example:443/ledger/mcp?a=b#c"}),
        json!({"iat": NOW - LIFE_S}),
        json!({"iat": NOW + 5}),
        json!({"more": 1}),
    ] {
        assert!(holder.with_claims(good.clone()).is_ok(), "{good}");
    }
    let nonce = holder.with_claims(json!({"nonce": "n"})).unwrap().nonce;
    assert_eq!(nonce.as_deref(), Some("n"));
}

#[test]
fn proofs_are_told_apart_by_key_and_id() {
    let (one, other) = (Holder::new(), Holder::new());
    let id = |holder: &Holder, jti| holder.with_claims(json!({"jti": jti})).unwrap().id;
    assert_eq!(id(&one, "a"), id(&one, "a"));
    assert_ne!(id(&one, "a"), id(&one, "b"));
    assert_ne!(id(&one, "a"), id(&other, "a"));
}

#[test]
fn what_is_no_proof_is_refused() {
    let holder = Holder::new();
    let good = holder.sign(&holder.header(), &claims());
    let twice = URL_SAFE_NO_PAD.encode(format!(
        r#"{{"jti":"a","jti":"b","htm":"POST","htu":"{URL}","iat":{NOW}}}"#
    ));
    let long = holder.sign(
        &holder.header(),
        &changed(claims(), json!({"x": "x".repeat(4096)})),
    );
    for bad in [
        "",
        "a.b",
        "..",
        &format!("{good}.x"),
        &format!("{}.{twice}.AA", encode(&holder.header())),
        &long,
    ] {
        assert_eq!(
            Proof::check(bad, &expected()),
            Err(ProofError::Malformed),
            "{bad}"
        );
    }
    let (input, _) = good.rsplit_once('.').unwrap();
    for signature in [vec![], vec![0; 64], vec![0; 63]] {
        let bad = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(
            Proof::check(&bad, &expected()),
            Err(ProofError::Signature),
            "{bad}"
        );
    }
}

#[test]
fn an_ecdsa_signature_of_zeros_is_no_signature() {
    let pair = ES256KeyPair::generate();
    let jwk: Json = serde_json::from_str(&pair.public_key().to_jwk()).unwrap();
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
    let input = format!("{}.{}", encode(&header), encode(&claims()));
    let key = ecdsa::SigningKey::from_slice(&pair.to_bytes()).unwrap();
    let good: ecdsa::Signature = key.sign(input.as_bytes());
    let proof = |signature: &[u8]| {
        let text = format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature));
        Proof::check(&text, &expected())
    };
    assert!(proof(&good.to_bytes()).is_ok());
    assert_eq!(proof(&[0; 64]), Err(ProofError::Signature));
}
