//! Certificates for TLS servers: RFC 5280 in DER (X.690), as much of it as it takes.

use std::net::IpAddr;

use anyhow::{Result, anyhow};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

/// A certificate that vouches for itself, and its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate, DER.
    pub der: Vec<u8>,
    /// Its private key, PKCS #8.
    pub key: Vec<u8>,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT: u8 = 0x06;
const TEXT: u8 = 0x0c;
const TIME: u8 = 0x17;
/// Context-specific: the version and the extensions of a certificate, a DNS name or an address in a subjectAltName.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;

const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

impl Certificate {
    /// For a host name or an address; valid from 2020 to the end of a year, two digits, up to 2049.
    pub fn new(name: &str, last_year: u8) -> Result<Self> {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
            .map_err(|_| anyhow!("no key could be made"))?;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random)
            .map_err(|error| anyhow!("the key is rejected: {error}"))?;
        let signing = der(SEQUENCE, &[der(OBJECT, &[ECDSA_WITH_SHA256])]);
        let end = format!("{last_year:02}1231235959Z");
        let validity = [der(TIME, &[&b"200101000000Z"[..]]), der(TIME, &[end])];
        let kind = [der(OBJECT, &[EC_PUBLIC_KEY]), der(OBJECT, &[P256])];
        let public = [der(SEQUENCE, &kind), bits(pair.public_key().as_ref())];
        let host = match name.parse() {
            Ok(IpAddr::V4(address)) => der(IP_ADDRESS, &[address.octets()]),
            Ok(IpAddr::V6(address)) => der(IP_ADDRESS, &[address.octets()]),
            Err(_) => der(DNS_NAME, &[name]),
        };
        let names = der(SEQUENCE, &[host]);
        let extension = [
            der(OBJECT, &[SUBJECT_ALT_NAME]),
            der(OCTET_STRING, &[names]),
        ];
        let content = der(
            SEQUENCE,
            &[
                der(VERSION, &[der(INTEGER, &[[2]])]),
                der(INTEGER, &[[1]]),
                signing.clone(),
                distinguished(name),
                der(SEQUENCE, &validity),
                distinguished(name),
                der(SEQUENCE, &public),
                der(EXTENSIONS, &[der(SEQUENCE, &[der(SEQUENCE, &extension)])]),
            ],
        );
        let signature = pair
            .sign(&random, &content)
            .map_err(|_| anyhow!("the certificate cannot be signed"))?;
        Ok(Self {
            der: der(SEQUENCE, &[content, signing, bits(signature.as_ref())]),
            key: key.as_ref().to_vec(),
        })
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// The key as PEM.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }
}

/// RFC 7468.
fn pem(what: &str, der: &[u8]) -> String {
    let lines: Vec<String> = der.chunks(48).map(base64).collect();
    let lines = lines.join("\n");
    format!("-----BEGIN {what}-----\n{lines}\n-----END {what}-----\n")
}

/// Tag, length, content.
fn der<P: AsRef<[u8]>>(tag: u8, parts: &[P]) -> Vec<u8> {
    let content: Vec<u8> = parts.iter().flat_map(AsRef::as_ref).copied().collect();
    let length = content.len();
    let mut element = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => element.push(short),
        Ok(byte) => element.extend([0x81, byte]),
        Err(_) => element.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    element.extend(content);
    element
}

/// Whole bytes.
fn bits(bytes: &[u8]) -> Vec<u8> {
    der(BIT_STRING, &[&[0][..], bytes])
}

fn distinguished(name: &str) -> Vec<u8> {
    let common = [der(OBJECT, &[COMMON_NAME]), der(TEXT, &[name])];
    der(SEQUENCE, &[der(SET, &[der(SEQUENCE, &common)])])
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = bytes.chunks(3).flat_map(|group| {
        let byte = |at| u32::from(group.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        (0..4).map(move |at| {
            let digit = word >> (18 - 6 * at) & 63;
            if at <= group.len() {
                char::from(DIGITS[digit as usize])
            } else {
                '='
            }
        })
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_that_of_rfc_4648() {
        let encoded = ["", "f", "fo", "foo", "foob", "fooba", "foobar"]
            .map(|text| super::base64(text.as_bytes()));
        assert_eq!(
            encoded,
            [
                "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"
            ]
        );
    }
}
