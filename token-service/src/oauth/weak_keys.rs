//! RSA keys whose private half can be computed from the public one: those of a library in smart cards (ROCA,
//! CVE-2017-15361). Their primes are of a form that shows in the modulus.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// Those that the form shows with.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];
const GENERATOR: u32 = 65537;

/// Whether the modulus of this JWK is, by each of the primes, a power of 65537. No sound key is, by any chance worth a thought.
pub(super) fn is_roca(jwk: &Value) -> bool {
    let modulus = jwk.get("n").and_then(Value::as_str);
    let Some(modulus) = modulus.and_then(|n| URL_SAFE_NO_PAD.decode(n).ok()) else {
        return false;
    };
    PRIMES.iter().all(|&prime| {
        let rest = modulus
            .iter()
            .fold(0, |rest, byte| (rest * 256 + u32::from(*byte)) % prime);
        is_power(rest, prime)
    })
}

fn is_power(rest: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == rest {
            return true;
        }
        power = power * (GENERATOR % prime) % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_generated_well_is_not_taken_for_a_weak_one() {
        use jwt_simple::prelude::RS256KeyPair;
        let key = RS256KeyPair::generate(2048).unwrap().public_key();
        assert!(!is_roca(&serde_json::from_str(&key.to_jwk()).unwrap()));
        assert!(!is_roca(&serde_json::json!({"kty": "EC"})));
    }

    #[test]
    fn a_modulus_of_that_form_is_found() {
        // 65537, a power of itself.
        let jwk = serde_json::json!({"n": URL_SAFE_NO_PAD.encode([1, 0, 1])});
        assert!(is_roca(&jwk));
    }
}
