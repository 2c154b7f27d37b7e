//! The programs of the object and how they call each other.

macro_rules! stage_programs {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// A stage that is a program of its own, reached by a tail call. The value is its index in the
        /// program array.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum StageProgram {
            $(#[doc = $meaning] $variant,)*
        }

        impl StageProgram {
            /// Every stage program, in index order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name inside a [`ProgramSet`]; the program is called `<name><suffix>`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

stage_programs! {
    Tunnel4 "tunnel4" "Encapsulates IPv4 packets.";
    Tunnel6 "tunnel6" "Encapsulates IPv6 packets.";
    Nat4 "nat4" "Translates IPv4 packets of known flows.";
    Nat6 "nat6" "Translates IPv6 packets of known flows.";
    NewFlow4 "new_flow4" "Makes an IPv4 NAT flow.";
    NewFlow6 "new_flow6" "Makes an IPv6 NAT flow.";
    Egress4 "egress4" "Egress SNAT for IPv4.";
    Egress6 "egress6" "Egress SNAT for IPv6.";
    Icmp4 "icmp4" "ICMP: echo for VIPs, errors about flows.";
    Icmp6 "icmp6" "ICMPv6: echo for VIPs, errors about flows.";
    IcmpFlow4 "icmp_flow4" "ICMP errors about IPv4 NAT flows.";
    IcmpFlow6 "icmp_flow6" "ICMPv6 errors about IPv6 NAT flows.";
    Answer "answer" "ARP and neighbour discovery for VIPs.";
    TooBig4 "too_big4" "Tells an IPv4 sender what size fits.";
    TooBig6 "too_big6" "Tells an IPv6 sender what size fits.";
    Reset4 "reset4" "Tells an IPv4 host that its connection was forgotten.";
    Reset6 "reset6" "Tells an IPv6 host that its connection was forgotten.";
    Reflect4 "reflect4" "Echoes between the nodes of a pair over IPv4.";
    Reflect6 "reflect6" "Echoes between the nodes of a pair over IPv6.";
}

/// Index of the program that keeps dropped packets: called at the end of the path, no stage of it.
pub const RECORD: u32 = StageProgram::COUNT as u32;
/// Entries of a program array.
pub const CALLEES: usize = StageProgram::COUNT + 1;

/// One compiled variant of the whole packet path: an entry program and its stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgramSet {
    /// Single-buffer packets.
    Linear,
    /// Multi-buffer packets (`xdp.frags`).
    Frags,
    /// The read-only run.
    Trace,
}

impl ProgramSet {
    /// The entry program's name.
    pub const fn entry(self) -> &'static str {
        match self {
            Self::Linear => "forwarder",
            Self::Frags => "forwarder_frags",
            Self::Trace => "trace",
        }
    }

    /// What the set's programs call: index in the program array, and name before the suffix.
    pub fn callees(self) -> impl Iterator<Item = (u32, &'static str)> {
        let stages = StageProgram::ALL.iter();
        // The read-only run keeps no packets.
        let record = (self != Self::Trace).then_some((RECORD, "record"));
        stages
            .map(|stage| (*stage as u32, stage.name()))
            .chain(record)
    }

    /// What follows a stage's name in this set.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Linear => "",
            Self::Frags => "_frags",
            Self::Trace => "_trace",
        }
    }

    /// The devmap that the set's programs send through (the trace sends nothing).
    pub const fn devices(self) -> &'static str {
        match self {
            Self::Frags => "DEVICES_FRAGS",
            Self::Linear | Self::Trace => "DEVICES",
        }
    }

    /// The program array that the set's programs call through.
    pub const fn stages(self) -> &'static str {
        match self {
            Self::Linear => "STAGES",
            Self::Frags => "STAGES_FRAGS",
            Self::Trace => "STAGES_TRACE",
        }
    }
}
