//! What a map is made of, and whether one that is pinned will do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aya::maps::MapInfo;
use aya_obj::Object;

use super::load::LoadError;
use crate::dataplane::pin::{Generation, PinError};

/// Written by the control plane alone; they name each other, so they are taken over together or not
/// at all.
const CONTROL: [&str; 19] = [
    "INTERFACES",
    "DEVICES",
    "DEVICES_FRAGS",
    "SLOTS",
    "BACKENDS",
    "SNAT_POOLS",
    "SNAT_ADDRESSES",
    "VIP_BUCKETS4",
    "VIP_BUCKETS6",
    "VIPS4",
    "VIPS6",
    "VIP_ADDRESSES4",
    "VIP_ADDRESSES6",
    "SNAT_RANGES4",
    "SNAT_RANGES6",
    "ADMISSION4",
    "ADMISSION6",
    "EGRESS4",
    "EGRESS6",
];
/// Written by the data plane: what would be lost. Each is taken over by itself.
const KEPT: [&str; 18] = [
    "LEASES",
    "RATES",
    "COUNTERS",
    "SNAT_COUNTERS",
    "EMBRYONIC_COUNTERS",
    "VIRTUAL_SERVER_COUNTERS",
    "BACKEND_COUNTERS",
    "FLOWS4",
    "FLOWS6",
    "EMBRYONIC4",
    "EMBRYONIC6",
    "EXCEPTIONS4",
    "EXCEPTIONS6",
    "EMBRYONIC_EXCEPTIONS4",
    "EMBRYONIC_EXCEPTIONS6",
    "FRAGMENTS4",
    "FRAGMENTS6",
    "LAST_DROPS",
];
/// Of one loaded object. The kernel empties a program array that nobody holds or pins.
const OWN: [&str; 2] = ["STAGES", "STAGES_FRAGS"];

/// Every map that is pinned.
pub fn pinned_maps() -> impl Iterator<Item = &'static str> {
    CONTROL.into_iter().chain(KEPT).chain(OWN)
}

/// Type, sizes and flags of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    kind: u32,
    key_size: u32,
    value_size: u32,
    /// Entries at most.
    pub entries: u32,
    flags: u32,
}

impl Shape {
    /// The shape of a pinned map; `None`: there is none, or something else is there.
    pub fn of_pinned(path: &Path) -> Option<Self> {
        let info = MapInfo::from_pin(path).ok()?;
        Some(Self {
            kind: info.map_type().ok()? as u32,
            key_size: info.key_size(),
            value_size: info.value_size(),
            entries: info.max_entries(),
            flags: info.map_flags() & !KERNELS_OWN_FLAGS,
        })
    }
}

/// `BPF_F_RDONLY_PROG`, which the kernel sets on device maps by itself.
const KERNELS_OWN_FLAGS: u32 = 1 << 7;

/// The shapes of an object's maps, with these sizes.
pub fn wanted(
    object: &[u8],
    sizes: &[(&'static str, u32)],
) -> Result<BTreeMap<String, Shape>, LoadError> {
    let object =
        Object::parse(object).map_err(|error| LoadError::Object(Box::new(error.into())))?;
    let shapes = object.maps.iter().map(|(name, map)| {
        let size = sizes.iter().find(|(sized, _)| sized == name);
        let shape = Shape {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            entries: size.map_or(map.max_entries(), |(_, entries)| *entries),
            flags: map.map_flags() & !KERNELS_OWN_FLAGS,
        };
        (name.clone(), shape)
    });
    Ok(shapes.collect())
}

/// What to do with the maps of the generation before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// To be used as they are, by name.
    pub maps: BTreeMap<&'static str, PathBuf>,
    /// To be copied into new maps: the same but for the number of entries.
    pub copies: BTreeMap<&'static str, PathBuf>,
    /// Kept, but not as they are, or lost; for the log.
    pub changed: Vec<String>,
    /// Whether the control plane's maps are taken over.
    pub control: bool,
}

/// Compares every pinned map with the one that is wanted.
pub fn adopt(
    previous: &Generation,
    wanted: &BTreeMap<String, Shape>,
) -> Result<Adoption, PinError> {
    let mut adoption = Adoption::default();
    let fits = |name: &str| {
        let found = Shape::of_pinned(&previous.path.join(name));
        found.is_some() && found.as_ref() == wanted.get(name)
    };
    let unfit: Vec<_> = CONTROL.into_iter().filter(|name| !fits(name)).collect();
    adoption.control = unfit.is_empty();
    if adoption.control {
        let maps = CONTROL.map(|name| (name, previous.path.join(name)));
        adoption.maps.extend(maps);
    } else {
        let names = unfit.join(", ");
        adoption
            .changed
            .push(format!("tables are made anew ({names})"));
    }
    for name in KEPT {
        let path = previous.path.join(name);
        let (Some(found), Some(wanted)) = (Shape::of_pinned(&path), wanted.get(name)) else {
            adoption.changed.push(format!("{name} begins empty"));
            continue;
        };
        let as_large = Shape {
            entries: wanted.entries,
            ..found
        };
        if found == *wanted {
            adoption.maps.insert(name, path);
        } else if as_large == *wanted {
            let (from, to) = (found.entries, wanted.entries);
            adoption
                .changed
                .push(format!("{name} is copied: {from} -> {to} entries"));
            adoption.copies.insert(name, path);
        } else {
            adoption.changed.push(format!(
                "{name} begins empty: {found:?} does not fit {wanted:?}"
            ));
        }
    }
    Ok(adoption)
}
