//! An issuer's keys, and tokens of any form signed with them.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{AUDIENCE, CALLER, ISSUER, now};

/// Base64url without padding.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The usual claims, merged with these; null removes a claim.
pub(super) fn claims(more: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": [AUDIENCE], "sub": CALLER, "iat": now(), "exp": now() + 600,
    });
    let members = claims.as_object_mut().expect("an object");
    for (name, value) in more.as_object().expect("an object") {
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    claims
}

/// An issuer's keys, one of each type.
pub(crate) struct Signers {
    pub(super) ec: EcdsaKeyPair,
    pub(super) rsa: RsaKeyPair,
    ed: Ed25519KeyPair,
    /// The prefix of its key ids.
    name: &'static str,
}

impl Signers {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
            ed: Ed25519KeyPair::generate().expect("a key"),
            name,
        }
    }

    pub(super) fn kid(&self, sort: &str) -> String {
        format!("{}-{sort}", self.name)
    }

    /// Its public keys, and some that cannot verify a token.
    pub(super) fn keys(&self) -> Vec<Value> {
        let point = self.ec.public_key().as_ref();
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        let (n, e) = (encode(&rsa.n), encode(&rsa.e));
        let ed = encode(self.ed.public_key().as_ref());
        let kid = |sort: &str| self.kid(sort);
        vec![
            json!({"kty": "EC", "crv": "P-256", "kid": kid("ec"), "x": x, "y": y}),
            json!({"kty": "RSA", "kid": kid("rsa"), "alg": "RS256", "use": "sig", "n": n, "e": e}),
            json!({"kty": "OKP", "crv": "Ed25519", "kid": kid("ed"), "x": ed}),
            json!({"kty": "RSA", "kid": kid("enc"), "use": "enc", "n": n, "e": e}),
            json!({"kty": "RSA", "kid": kid("ops"), "key_ops": ["encrypt"], "n": n, "e": e}),
            json!({"kty": "RSA", "kid": kid("weak"), "n": encode([0xff; 128]), "e": e}),
            json!({"kty": "oct", "kid": kid("oct"), "k": encode("secret")}),
        ]
    }

    pub(crate) fn jwks(&self) -> String {
        json!({"keys": self.keys()}).to_string()
    }

    /// A valid token with these claims.
    pub(crate) fn token(&self, more: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.kid("ec")});
        self.es256(&header.to_string(), &claims(more).to_string())
    }

    pub(super) fn es256(&self, header: &str, claims: &str) -> String {
        let sign = |message: &[u8]| {
            let signature = self.ec.sign(&SystemRandom::new(), message).expect("a signature");
            signature.as_ref().to_vec()
        };
        signed(header, claims, sign)
    }

    pub(super) fn rs256(&self, header: &str, claims: &str) -> String {
        self.rsa(&RSA_PKCS1_SHA256, header, claims)
    }

    pub(super) fn ps256(&self, header: &str, claims: &str) -> String {
        self.rsa(&RSA_PSS_SHA256, header, claims)
    }

    fn rsa(
        &self,
        padding: &'static dyn aws_lc_rs::signature::RsaEncoding,
        header: &str,
        claims: &str,
    ) -> String {
        signed(header, claims, |message| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            let random = SystemRandom::new();
            self.rsa.sign(padding, &random, message, &mut signature).expect("a signature");
            signature
        })
    }

    pub(super) fn eddsa(&self, header: &str, claims: &str) -> String {
        signed(header, claims, |message| self.ed.sign(message).as_ref().to_vec())
    }
}

/// A token with an HMAC under this key.
pub(super) fn hs256(key: &[u8], header: &str, claims: &str) -> String {
    signed(header, claims, |message| {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("a key");
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    })
}

/// A token with this signature.
pub(super) fn signed(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", encode(signature))
}
