//! Parses any token, including those from other issuers, with any zlib stream and unsupported
//! services.

use std::{collections::BTreeMap, io::Read};

use aws_lc_rs::hmac;
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use flate2::read::ZlibDecoder;

use super::{
    packed::VERSION,
    services::{Product, Service},
};
use crate::settings::SigningSecret;

/// The longest token that is read, compressed and decompressed.
const MAX_TOKEN: usize = 64 * 1024;
const MAX_UNPACKED: u64 = 64 * 1024;

const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The content of a token.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) app_id: String,
    /// The issue time in Unix seconds.
    pub(super) issue: u32,
    /// The life in seconds.
    pub(super) life: u32,
    pub(super) salt: u32,
    pub(super) services: Vec<Service>,
    /// The number of the first unknown service; parsing stops there.
    pub(super) unknown: Option<u16>,
    signature: Vec<u8>,
    signed: Vec<u8>,
}

impl Parsed {
    /// Parses a token; `None` if it has another form.
    pub(super) fn parse(token: &str) -> Option<Self> {
        let packed = token.strip_prefix(VERSION).filter(|it| it.len() <= MAX_TOKEN)?;
        let packed = LENIENT.decode(packed).ok()?;
        let mut unpacked = Vec::new();
        ZlibDecoder::new(&packed[..]).take(MAX_UNPACKED).read_to_end(&mut unpacked).ok()?;
        let mut rest = Unread(&unpacked);
        let signature = rest.bytes()?.to_vec();
        let signed = rest.0.to_vec();
        let mut parsed = Self {
            app_id: rest.text()?,
            issue: rest.long()?,
            life: rest.long()?,
            salt: rest.long()?,
            services: Vec::new(),
            unknown: None,
            signature,
            signed,
        };
        for _ in 0..rest.short()? {
            let number = rest.short()?;
            let Some(product) = Product::of_number(number) else {
                parsed.unknown = Some(number);
                return Some(parsed);
            };
            let mut privileges = BTreeMap::new();
            for _ in 0..rest.short()? {
                privileges.insert(rest.short()?, rest.long()?);
            }
            let channel = match product {
                Product::Rtc => Some(rest.text()?),
                Product::Rtm | Product::Chat => None,
            };
            let user = rest.text()?;
            parsed.services.push(Service { product, privileges, channel, user });
        }
        rest.0.is_empty().then_some(parsed)
    }

    /// Whether the app's certificate signed it, checked by an HMAC that is not used for signing.
    pub(super) fn is_signed_by(&self, certificate: &SigningSecret) -> bool {
        let code = |key: &[u8], message: &[u8]| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
        };
        let of_issue = code(&self.issue.to_le_bytes(), certificate.expose().as_bytes());
        let of_salt = code(&self.salt.to_le_bytes(), of_issue.as_ref());
        let key = hmac::Key::new(hmac::HMAC_SHA256, of_salt.as_ref());
        hmac::verify(&key, &self.signed, &self.signature).is_ok()
    }
}

/// The unread bytes.
struct Unread<'a>(&'a [u8]);

impl<'a> Unread<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn long(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.short()?);
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }
}
