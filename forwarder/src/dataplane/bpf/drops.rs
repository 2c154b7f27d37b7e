//! The packets that were dropped last.

use std::time::Duration;

use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray};
use forwarder_common::{LastDrop, Reason, drop};

use super::load::LoadError;
use super::map;

/// Where the EtherType begins, or the first VLAN tag.
const TYPE: usize = 12;
/// How often an entry is read that is being written each time.
const TRIES: usize = 8;

/// A packet that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: Reason,
    /// When, by the monotonic clock.
    pub at: Duration,
    /// The interface that it came in by.
    pub ifindex: u32,
    /// The frame, or its beginning, with the VLAN tags that it came with.
    pub frame: Vec<u8>,
    /// Bytes of the frame as it came in.
    pub length: u32,
}

/// The last one for every reason there was one for.
pub fn last(ebpf: &Ebpf) -> Result<Vec<Dropped>, LoadError> {
    let map: PerCpuArray<&MapData, LastDrop> = map(ebpf, "LAST_DROPS")?.try_into()?;
    let mut drops = Vec::new();
    for index in 0..drop::REASONS as u32 {
        let mut values = map.get(&index, 0)?;
        for _ in 1..TRIES {
            if values.iter().all(is_whole) {
                break;
            }
            values = map.get(&index, 0)?;
        }
        drops.extend(newest(&values));
    }
    Ok(drops)
}

/// Whether the entry was not being written while it was read.
fn is_whole(last: &LastDrop) -> bool {
    last.begun == last.finished
}

/// The newest of what the CPUs have.
fn newest(values: &[LastDrop]) -> Option<Dropped> {
    let written = |last: &&LastDrop| is_whole(last) && last.begun != 0;
    dropped(values.iter().filter(written).max_by_key(|last| last.time)?)
}

fn dropped(last: &LastDrop) -> Option<Dropped> {
    let kept = last.frame.as_flattened().get(..last.kept as usize)?;
    let mut frame = kept.to_vec();
    if frame.len() >= TYPE {
        let tags = last.tags.iter().filter(|tag| **tag != 0);
        let tags: Vec<u8> = tags.flat_map(|tag| tag.to_ne_bytes()).collect();
        frame.splice(TYPE..TYPE, tags);
    }
    Some(Dropped {
        reason: *Reason::ALL.get(last.reason as usize)?,
        at: Duration::from_nanos(last.time),
        ifindex: last.ifindex,
        frame,
        length: last.length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kept: u32, tags: [u32; 2]) -> LastDrop {
        let mut entry = LastDrop {
            reason: Reason::DropDenied as u32,
            kept,
            tags,
            ..LastDrop::default()
        };
        for (number, byte) in entry.frame.as_flattened_mut().iter_mut().enumerate() {
            *byte = number as u8;
        }
        entry
    }

    #[test]
    fn tags_are_put_back() {
        let outer = u32::from_ne_bytes([0x88, 0xa8, 0, 5]);
        let inner = u32::from_ne_bytes([0x81, 0, 0, 6]);
        let frame = dropped(&entry(14, [outer, inner])).expect("a packet").frame;
        let expected: Vec<u8> = (0..12)
            .chain([0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 12, 13])
            .collect();
        assert_eq!(frame, expected);
        let frame = dropped(&entry(3, [0, 0])).expect("a packet").frame;
        assert_eq!(frame, [0, 1, 2]);
    }

    #[test]
    fn the_newest_that_is_whole_counts() {
        let at = |time, begun, finished| LastDrop {
            time,
            begun,
            finished,
            ..entry(14, [0, 0])
        };
        let time = |values: &[LastDrop]| newest(values).map(|last| last.at.as_nanos());
        assert_eq!(time(&[at(0, 0, 0), at(0, 0, 0)]), None);
        assert_eq!(time(&[at(5, 1, 1), at(7, 3, 3), at(6, 9, 9)]), Some(7));
        assert_eq!(time(&[at(5, 1, 1), at(7, 4, 3)]), Some(5), "torn");
        assert_eq!(time(&[at(5, 1, 0)]), None, "torn");
    }

    #[test]
    fn what_cannot_be_is_nothing() {
        assert_eq!(dropped(&entry(drop::FRAME as u32 + 1, [0, 0])), None);
        let unknown = LastDrop {
            reason: Reason::COUNT as u32,
            ..entry(14, [0, 0])
        };
        assert_eq!(dropped(&unknown), None);
    }
}
