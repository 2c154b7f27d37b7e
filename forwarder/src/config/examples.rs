//! Annotated examples: files to begin with.

/// A good file for one situation.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The situation.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

impl Example {
    /// Its first line.
    pub fn about(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.trim_start_matches(['#', ' '])
    }
}

macro_rules! examples {
    ($($name:literal)*) => {
        &[$(Example {
            name: $name,
            text: include_str!(concat!("../../../examples/", $name, ".toml")),
        },)*]
    };
}

/// Every example.
pub fn examples() -> &'static [Example] {
    examples! {
        "floating-ip-two-front-ends-one-port"
        "several-virtual-servers-two-interfaces"
        "two-interfaces-one-subnet"
        "tunnels-over-ipv6"
        "pair"
        "cloud-two-zones"
        "wavelength"
    }
}
