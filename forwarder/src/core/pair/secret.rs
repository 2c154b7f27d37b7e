//! The pair's shared secret and the keys made of it.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use forwarder_common::siphash::SipKey;
use hkdf::Hkdf;
use sha2::Sha256;
use thiserror::Error;

/// Bytes of the authenticator of a sealed message.
pub const TAG: usize = 16;

/// The file's content is no secret.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a pair's secret is 64 hexadecimal digits")]
pub struct BadSecret;

/// 32 secret bytes that both nodes have.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl From<[u8; 32]> for Secret {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Secret {
    /// Reads the file's content: 64 hexadecimal digits, white space around them.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(BadSecret);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| BadSecret)?;
            // from_str_radix takes a sign.
            if !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(BadSecret);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| BadSecret)?;
        }
        Ok(Self(bytes))
    }

    /// As the file has it.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The keys of messages that a node sends, 0 or 1.
    pub fn keys(&self, node: u8) -> Keys {
        Keys {
            seal: XChaCha20Poly1305::new(&self.derive(b"message", node).into()),
            echo: sip_key(&self.derive(b"echo", node)),
            answer: sip_key(&self.derive(b"answer", node)),
        }
    }

    /// What third parties may know the pair by.
    pub fn name(&self) -> String {
        let name = self.derive(b"name", 0);
        name[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The key of what a node tells of flows.
    pub fn sync_key(&self, node: u8) -> SyncKey {
        SyncKey(XChaCha20Poly1305::new(&self.derive(b"sync", node).into()))
    }

    fn derive(&self, purpose: &[u8], node: u8) -> [u8; 32] {
        let mut key = [0; 32];
        let hkdf = Hkdf::<Sha256>::new(Some(b"forwarder pair 1"), &self.0);
        // 32 bytes are far below the limit of 255 blocks.
        let expanded = hkdf.expand(&[purpose, &[node]].concat(), &mut key);
        debug_assert!(expanded.is_ok());
        key
    }
}

fn sip_key(bytes: &[u8; 32]) -> SipKey {
    let word = |at: usize| {
        bytes[at..at + 8]
            .iter()
            .rev()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    [word(0), word(8)]
}

/// The keys of one sender.
#[derive(Clone)]
pub struct Keys {
    seal: XChaCha20Poly1305,
    /// Of the echoes that it sends.
    pub echo: SipKey,
    /// Of its answers to the other's echoes.
    pub answer: SipKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// Encrypts and authenticates; `header` is authenticated only. A nonce must never come twice: it is
    /// made of the process's random number and a counter.
    pub fn seal(&self, boot: u64, sequence: u64, header: &[u8], text: &mut Vec<u8>) {
        let sealed = self
            .seal
            .encrypt_in_place(&nonce(boot, sequence), header, text);
        debug_assert!(sealed.is_ok());
    }

    /// Undoes [`Self::seal`]; `None` if anything was changed, or with another key.
    pub fn open(&self, boot: u64, sequence: u64, header: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut text = sealed.to_vec();
        self.seal
            .decrypt_in_place(&nonce(boot, sequence), header, &mut text)
            .ok()?;
        Some(text)
    }
}

/// The key of one sender of flows: apart from the others, as it counts its messages by itself.
#[derive(Clone)]
pub struct SyncKey(XChaCha20Poly1305);

impl std::fmt::Debug for SyncKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SyncKey")
    }
}

impl SyncKey {
    /// As [`Keys::seal`].
    pub fn seal(&self, process: u64, sequence: u64, header: &[u8], text: &mut Vec<u8>) {
        let sealed = self
            .0
            .encrypt_in_place(&nonce(process, sequence), header, text);
        debug_assert!(sealed.is_ok());
    }

    /// As [`Keys::open`].
    pub fn open(
        &self,
        process: u64,
        sequence: u64,
        header: &[u8],
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let mut text = sealed.to_vec();
        self.0
            .decrypt_in_place(&nonce(process, sequence), header, &mut text)
            .ok()?;
        Some(text)
    }
}

fn nonce(boot: u64, sequence: u64) -> XNonce {
    let mut nonce = [0; 24];
    nonce[..8].copy_from_slice(&boot.to_be_bytes());
    nonce[8..16].copy_from_slice(&sequence.to_be_bytes());
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_64_hexadecimal_digits_and_is_never_shown() {
        let text = "0123456789abcdef".repeat(4);
        let secret = Secret::parse(&format!("{text}\n")).expect("good");
        assert_eq!(secret.to_hex(), text);
        assert!(!format!("{secret:?} {:?}", secret.keys(0)).contains("0123"));
        for bad in ["", "00", &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(Secret::parse(bad), Err(BadSecret), "{bad}");
        }
    }

    #[test]
    fn what_is_sealed_opens_with_the_same_key_only() {
        let [own, other] = [0, 1].map(|node| Secret([7; 32]).keys(node));
        let mut text = b"hello".to_vec();
        own.seal(1, 2, b"head", &mut text);
        assert_eq!(text.len(), 5 + TAG);
        assert_eq!(
            own.open(1, 2, b"head", &text).as_deref(),
            Some(&b"hello"[..])
        );
        assert_eq!(own.open(1, 3, b"head", &text), None);
        assert_eq!(own.open(1, 2, b"heap", &text), None);
        assert_eq!(other.open(1, 2, b"head", &text), None);
        assert_eq!(own.open(1, 2, b"head", &text[..3]), None);
        assert_ne!(own.echo, own.answer);
        assert_ne!(own.echo, other.echo);
    }
}
