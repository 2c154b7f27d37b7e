//! Values that are one of a few words.

/// An enum whose values are words in the file.
pub(super) trait Word: Copy + 'static {
    /// Every value with its word.
    const WORDS: &'static [(&'static str, Self)];
}

/// Defines an enum, its words, and how it is shown.
macro_rules! words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$variant_meta])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word in the file, in commands and in metrics.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl $crate::config::words::Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $name::$variant),)*];
        }
    };
}

pub(super) use words;

use forwarder_common::Mode;

impl Word for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        (Mode::L2Dsr.name(), Mode::L2Dsr),
        (Mode::IpipDsr.name(), Mode::IpipDsr),
        (Mode::GueDsr.name(), Mode::GueDsr),
        (Mode::Dnat.name(), Mode::Dnat),
        (Mode::FullNat.name(), Mode::FullNat),
        (Mode::Local.name(), Mode::Local),
    ];
}
