//! Names, durations, port ranges and other values that are written as strings.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use super::super::model::PortRange;
use super::{Code, Fault, FromText, short};

/// A name of something in the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) struct Name(pub(in crate::config) String);

impl FromText for Name {
    const EXPECTED: &'static str = "a name: 1 to 63 letters, digits, or one of - _ . : /";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
        if text.is_empty() || !text.bytes().all(allowed) {
            let message = format!("\"{}\" can't be a name", short(text).escape_debug());
            Err(Fault::new(Code::BadName, message))
        } else if text.len() > 63 {
            let message = format!("a name of {} characters is too long", text.len());
            Err(Fault::new(Code::NameTooLong, message))
        } else {
            Ok(Name(text.to_owned()))
        }
    }
}

/// The kernel's name of a network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Device(pub(in crate::config) String);

impl FromText for Device {
    const EXPECTED: &'static str = "a network device such as eth0, at most 15 characters";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let refused = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
        if text.is_empty() || text == "." || text == ".." || text.contains(refused) {
            let message = format!("\"{}\" can't be a device", short(text).escape_debug());
            Err(Fault::new(Code::BadName, message))
        } else if text.len() > 15 {
            let message = format!("a device name of {} bytes is too long", text.len());
            Err(Fault::new(Code::NameTooLong, message))
        } else {
            Ok(Device(text.to_owned()))
        }
    }
}

/// The key of the flow hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct HashKey(pub(in crate::config) [u64; 2]);

impl FromText for HashKey {
    const EXPECTED: &'static str = "32 hexadecimal digits, as `openssl rand -hex 16` prints them";

    fn from_text(text: &str) -> Result<Self, Fault> {
        // The digits are a secret: the message does not repeat them.
        let bad = || Fault::new(Code::BadHashKey, "this is not a hash key");
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(bad());
        }
        let (high, low) = text.split_at(16);
        let half = |digits| u64::from_str_radix(digits, 16).map_err(|_| bad());
        Ok(HashKey([half(high)?, half(low)?]))
    }
}

impl FromText for Duration {
    const EXPECTED: &'static str = "a duration from 1ms to 1h such as 500ms, 2s or 1m";

    fn from_text(text: &str) -> Result<Self, Fault> {
        duration(text, Duration::ZERO, Duration::from_secs(3_600))
    }
}

/// How long a flow may be quiet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct IdleTime(pub(in crate::config) Duration);

impl FromText for IdleTime {
    const EXPECTED: &'static str = "a duration from 1s to 24h such as 90s, 15m or 2h";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let (shortest, longest) = (Duration::from_secs(1), Duration::from_secs(24 * 3_600));
        duration(text, shortest, longest).map(IdleTime)
    }
}

fn duration(text: &str, shortest: Duration, longest: Duration) -> Result<Duration, Fault> {
    let bad = |why: &str| Fault::new(Code::BadDuration, format!("\"{}\" {why}", short(text)));
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(bad("is not a duration")),
    };
    if number.is_empty() {
        return Err(bad("is not a duration"));
    }
    let number: Option<u64> = number.parse().ok();
    match number.and_then(|number| number.checked_mul(unit)) {
        Some(0) => Err(bad("is no time at all")),
        Some(milliseconds) => match Duration::from_millis(milliseconds) {
            time if time < shortest => Err(bad("is too short")),
            time if time > longest => Err(bad("is too long")),
            time => Ok(time),
        },
        None => Err(bad("is too long")),
    }
}

impl FromText for PortRange {
    const EXPECTED: &'static str = "a range of ports such as 1024-65535";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::new(Code::BadPortRange, format!("\"{}\" {why}", short(text)));
        let port = |digits: &str| -> Option<NonZeroU16> {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain)
        };
        let (low, high) = text
            .split_once('-')
            .ok_or_else(|| bad("is not a range of ports"))?;
        let (Some(low), Some(high)) = (port(low.trim()), port(high.trim())) else {
            return Err(bad("is not a range of ports from 1 to 65535"));
        };
        if low > high {
            return Err(bad("ends before it begins").help(format!("did you mean {high}-{low}?")));
        }
        Ok(PortRange { low, high })
    }
}

impl FromText for SocketAddr {
    const EXPECTED: &'static str = "an address with a port such as 127.0.0.1:9477 or [::1]:9477";

    fn from_text(text: &str) -> Result<Self, Fault> {
        let bad = |why: &str| Fault::new(Code::BadListen, format!("\"{}\" {why}", short(text)));
        match text.parse::<Self>() {
            Ok(address) if address.port() == 0 => Err(bad("has no port to listen on")),
            Ok(address) => Ok(address),
            Err(_) => Err(bad("is not an address with a port")),
        }
    }
}
