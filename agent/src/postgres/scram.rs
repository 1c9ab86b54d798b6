//! Whether a stored SCRAM verifier is that of a password, so that passwords are set only when they changed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// Ours have 4,096. Whoever owns a role may store a verifier that takes minutes to compare: it is none of ours.
const MOST_ITERATIONS: u32 = 100_000;

/// `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>` (RFC 5803).
pub fn fits(verifier: &str, password: &str) -> bool {
    matches(verifier, password).unwrap_or(false)
}

fn matches(verifier: &str, password: &str) -> Option<bool> {
    let (parameters, keys) = verifier.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let stored_key = STANDARD.decode(keys.split_once(':')?.0).ok()?;
    let salt = STANDARD.decode(salt).ok()?;
    let iterations = iterations.parse().ok().filter(|iterations| *iterations <= MOST_ITERATIONS)?;
    let salted = salted_password(password.as_bytes(), &salt, iterations)?;
    let client_key = hmac(&salted, &[b"Client Key"])?;
    Some(Sha256::digest(client_key)[..] == stored_key[..])
}

fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Option<[u8; 32]> {
    let mut last = hmac(password, &[salt, &1_u32.to_be_bytes()])?;
    let mut sum = last;
    for _ in 1..iterations {
        last = hmac(password, &[&last])?;
        sum.iter_mut().zip(last).for_each(|(sum, byte)| *sum ^= byte);
    }
    Some(sum)
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3: user `user`, password `pencil`; the keys follow from its proof.
    #[test]
    fn the_salted_password_of_the_standard_comes_out() {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let salted = salted_password(b"pencil", &salt, 4096).unwrap();
        let client_key = hmac(&salted, &[b"Client Key"]).unwrap();
        let stored_key = Sha256::digest(client_key);
        let messages = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
                        r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
                        c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac(&stored_key, &[messages.as_bytes()]).unwrap();
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        assert_eq!(STANDARD.encode(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
    }

    #[test]
    fn only_its_own_password_fits() {
        let salt = b"0123456789abcdef";
        let salted = salted_password(b"secret", salt, 16).unwrap();
        let stored = Sha256::digest(hmac(&salted, &[b"Client Key"]).unwrap());
        let verifier = format!("SCRAM-SHA-256$16:{}${}:x", STANDARD.encode(salt), STANDARD.encode(stored));
        assert!(fits(&verifier, "secret"));
        assert!(!fits(&verifier, "Secret"));
        assert!(!fits("md5abc", "secret"));
        assert!(!fits(&verifier.replacen("16", "2147483647", 1), "secret"), "it would take minutes");
    }
}
