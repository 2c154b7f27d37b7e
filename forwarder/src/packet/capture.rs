//! Capture files: pcap and pcapng, as tcpdump and Wireshark write them. They come from anywhere, so
//! nothing in them is taken for granted: every length is checked, and nothing is kept but one packet.

use thiserror::Error;

/// Largest capture file, bytes.
pub const MAX_FILE_SIZE: usize = 256 << 20;
/// No frame is longer: larger ones are given to the host in pieces.
const MAX_FRAME: usize = 65_536 + 18;

/// A capture cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CaptureError {
    /// Neither pcap nor pcapng.
    #[error("this is no capture: neither pcap nor pcapng")]
    NoCapture,
    /// It ends too early, or contradicts itself.
    #[error("the capture is broken at byte {0}")]
    Broken(usize),
    /// There is no such packet.
    #[error("there is no packet {wanted}: the capture has {there}")]
    NoPacket {
        /// What was asked for, from 1.
        wanted: usize,
        /// How many there are.
        there: usize,
    },
    /// What the packets begin with is not known.
    #[error("captures of link type {0} cannot be traced: Ethernet, raw IP and Linux cooked can")]
    LinkType(u32),
}

/// A packet of a capture, as an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The bytes that were captured. A destination MAC address of zeros: the capture has none.
    pub frame: Vec<u8>,
    /// Length on the wire, bytes; more than `frame` holds if only its beginning was captured.
    pub length: usize,
    /// Packets in the capture.
    pub of: usize,
}

/// Packet `number`, from 1, of a capture.
///
/// # Errors
/// When the file is no capture or has no such packet.
pub fn packet(file: &[u8], number: usize) -> Result<Captured, CaptureError> {
    let mut found = None;
    let mut there = 0;
    let take = |link: u32, data: &[u8], length: u32| {
        there += 1;
        if there == number {
            found = Some((link, data.to_vec(), length));
        }
    };
    let magic = file.first_chunk().ok_or(CaptureError::NoCapture)?;
    match u32::from_le_bytes(*magic) {
        0xa1b2_c3d4 | 0xa1b2_3c4d => pcap(file, Order::Little, take)?,
        0xd4c3_b2a1 | 0x4d3c_b2a1 => pcap(file, Order::Big, take)?,
        SECTION => pcapng(file, take)?,
        _ => return Err(CaptureError::NoCapture),
    }
    let missing = CaptureError::NoPacket {
        wanted: number,
        there,
    };
    let (link, data, length) = found.ok_or(missing)?;
    let (frame, before) = ethernet(link, data)?;
    // What the link's own header took, the Ethernet header has instead.
    let length = (length as usize + frame.len()).saturating_sub(before);
    let length = length.clamp(frame.len(), MAX_FRAME.max(frame.len()));
    Ok(Captured {
        frame,
        length,
        of: there,
    })
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn half(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        })
    }

    fn word(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        })
    }
}

/// A header of 24 bytes, then packets: seconds, fraction, bytes captured, bytes on the wire, data. A last
/// packet that is cut off, as when tcpdump was killed, ends the capture.
fn pcap(
    file: &[u8],
    order: Order,
    mut take: impl FnMut(u32, &[u8], u32),
) -> Result<(), CaptureError> {
    // The upper bits say how long frame check sequences are.
    let link = order.word(file, 20).ok_or(CaptureError::Broken(20))? & 0x03ff_ffff;
    let mut at = 24;
    while let (Some(captured), Some(length)) = (order.word(file, at + 8), order.word(file, at + 12))
    {
        let captured = captured as usize;
        let Some(data) = file.get(at + 16..).and_then(|rest| rest.get(..captured)) else {
            break;
        };
        take(link, data, length);
        at += 16 + captured;
    }
    Ok(())
}

/// pcapng's block types.
const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE: u32 = 3;
const ENHANCED: u32 = 6;

/// Blocks: type, length, body, length again. A block that is cut off ends the capture.
fn pcapng(file: &[u8], mut take: impl FnMut(u32, &[u8], u32)) -> Result<(), CaptureError> {
    let (mut order, mut links, mut at) = (Order::Little, Vec::new(), 0);
    while at + 12 <= file.len() {
        let broken = CaptureError::Broken(at);
        let kind = order.word(file, at).unwrap_or_default();
        if kind == SECTION {
            order = match Order::Little.word(file, at + 8) {
                Some(0x1a2b_3c4d) => Order::Little,
                Some(0x4d3c_2b1a) => Order::Big,
                _ => return Err(broken),
            };
            links.clear();
        }
        let length = order.word(file, at + 4).unwrap_or_default() as usize;
        if length < 12 || !length.is_multiple_of(4) {
            return Err(broken);
        }
        let Some(block) = file.get(at..).and_then(|rest| rest.get(..length)) else {
            break;
        };
        let body = &block[8..length - 4];
        match kind {
            INTERFACE => links.push(u32::from(order.half(body, 0).ok_or(broken)?)),
            ENHANCED | SIMPLE => {
                let (link, data, length) = data(kind, body, order, &links).ok_or(broken)?;
                take(link, data, length);
            }
            _ => (),
        }
        at += length;
    }
    Ok(())
}

/// Link type, data and length on the wire of a packet's block.
fn data<'a>(
    kind: u32,
    body: &'a [u8],
    order: Order,
    links: &[u32],
) -> Option<(u32, &'a [u8], u32)> {
    if kind == SIMPLE {
        let (length, rest) = (order.word(body, 0)?, body.get(4..)?);
        let data = rest.get(..length as usize).unwrap_or(rest);
        return Some((*links.first()?, data, length));
    }
    let link = *links.get(order.word(body, 0)? as usize)?;
    let (captured, length) = (order.word(body, 12)?, order.word(body, 16)?);
    Some((link, body.get(20..)?.get(..captured as usize)?, length))
}

/// The packet as an Ethernet frame, and how many bytes of it were there before.
fn ethernet(link: u32, data: Vec<u8>) -> Result<(Vec<u8>, usize), CaptureError> {
    let there = data.len();
    let version = data.first().map(|byte| byte >> 4);
    let ip = if version == Some(6) { 0x86dd } else { 0x0800 };
    // Link types: https://www.tcpdump.org/linktypes.html
    let (header, ethertype) = match link {
        1 => return Ok((data, there)),
        12 | 14 | 101 | 228 | 229 => (0, Some(ip)),
        113 => (16, Order::Big.half(&data, 14)),
        276 => (20, Order::Big.half(&data, 0)),
        other => return Err(CaptureError::LinkType(other)),
    };
    let mut frame = vec![0; 12];
    frame.extend(ethertype.unwrap_or_default().to_be_bytes());
    frame.extend(data.get(header..).unwrap_or_default());
    Ok((frame, there))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn classic(link: u32, packets: &[(&[u8], u32)]) -> Vec<u8> {
        let mut file = Vec::new();
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, link] {
            file.extend(u32::to_le_bytes(word));
        }
        for (data, length) in packets {
            for word in [1, 2, data.len() as u32, *length] {
                file.extend(word.to_le_bytes());
            }
            file.extend(*data);
        }
        file
    }

    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let padded = body.len().next_multiple_of(4);
        let length = (12 + padded as u32).to_be_bytes();
        let mut block = [kind.to_be_bytes(), length].concat();
        block.extend(body);
        block.resize(8 + padded, 0);
        block.extend(length);
        block
    }

    fn next_generation(data: &[u8], length: u32) -> Vec<u8> {
        let section = [
            &0x1a2b_3c4d_u32.to_be_bytes()[..],
            &[0, 1, 0, 0],
            &[0xff; 8],
        ]
        .concat();
        let enhanced: Vec<u8> = [0, 0, 0, data.len() as u32, length]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .chain(data.iter().copied())
            .collect();
        let simple = [&length.to_be_bytes()[..], data].concat();
        [
            block(SECTION, &section),
            block(INTERFACE, &[0, 1, 0, 0, 0, 0, 0, 0]),
            block(0xbad, &[1, 2, 3]),
            block(ENHANCED, &enhanced),
            block(SIMPLE, &simple),
        ]
        .concat()
    }

    #[test]
    fn both_formats() {
        let frame = [7; 33];
        let whole = Captured {
            frame: frame.to_vec(),
            length: 33,
            of: 2,
        };
        let file = classic(1, &[(&[1, 2], 2), (&frame, 33)]);
        assert_eq!(packet(&file, 2), Ok(whole.clone()));
        assert_eq!(
            packet(&file, 3),
            Err(CaptureError::NoPacket {
                wanted: 3,
                there: 2
            })
        );
        let file = next_generation(&frame, 33);
        assert_eq!(packet(&file, 1), Ok(whole.clone()));
        assert_eq!(packet(&file, 2), Ok(whole));
        // Cut off in the middle, as by a killed tcpdump.
        assert_eq!(
            packet(&file[..file.len() - 9], 1).map(|found| found.of),
            Ok(1)
        );
    }

    #[test]
    fn packets_without_an_ethernet_header_get_one() {
        let ip = [0x45, 1, 2, 3];
        let found = packet(&classic(101, &[(&ip, 1500)]), 1).expect("a packet");
        assert_eq!(found.frame, [&[0; 12][..], &[8, 0], &ip].concat());
        assert_eq!(found.length, 1514);
        let cooked = [&[0; 14][..], &[0x86, 0xdd], &[0x60]].concat();
        let found = packet(&classic(113, &[(&cooked, 17)]), 1).expect("a packet");
        assert_eq!(found.frame, [&[0; 12][..], &[0x86, 0xdd, 0x60]].concat());
        assert_eq!(found.length, found.frame.len());
        let wireless = packet(&classic(105, &[(&ip, 4)]), 1);
        assert_eq!(wireless, Err(CaptureError::LinkType(105)));
    }

    #[test]
    fn what_is_no_capture_is_said() {
        for file in [&b""[..], b"abc", b"version = 1\n"] {
            assert_eq!(packet(file, 1), Err(CaptureError::NoCapture));
        }
        let mut lies = next_generation(&[0; 8], 8);
        lies[4..8].copy_from_slice(&[0, 0, 0, 3]);
        assert_eq!(packet(&lies, 1), Err(CaptureError::Broken(0)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut file in prop::collection::vec(any::<u8>(), 0..300), kind in 0..3_usize, number in 0..5_usize) {
            let begin = [classic(1, &[]), next_generation(&[1; 20], 20), vec![]][kind].clone();
            file.splice(0..0, begin);
            let _ = packet(&file, number);
        }

        #[test]
        fn damaged_captures_are_read_or_refused(at in 0..120_usize, value: u8) {
            let mut file = next_generation(&[1; 20], 20);
            if let Some(byte) = file.get_mut(at) {
                *byte = value;
            }
            if let Ok(found) = packet(&file, 1) {
                prop_assert!(found.length <= MAX_FRAME);
            }
        }
    }
}
