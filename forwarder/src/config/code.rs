//! The names of everything that can be wrong with a file.

use std::fmt::{self, Display, Formatter};

/// Whether a diagnostic keeps the file from being used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used.
    Warning,
}

impl Display for Severity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

macro_rules! codes {
    ($($severity:ident $variant:ident $name:literal $about:literal)*) => {
        /// What kind of error or warning. The names never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $about] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The stable name.
            pub fn name(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// What it means, one sentence.
            pub fn about(self) -> &'static str {
                match self { $(Code::$variant => $about,)* }
            }

            /// Whether it is an error or a warning.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }
        }
    };
}

codes! {
    // The file.
    Error FileNotFound "file-not-found" "There is no such file."
    Error UnreadableFile "unreadable-file" "The file exists but can't be read."
    Error FileTooLarge "file-too-large" "The file is larger than 8 MiB."
    Error NotText "not-text" "The file is not UTF-8 text, or holds a NUL byte."
    Error Syntax "syntax" "The file is not TOML; often a missing quote or bracket, or a key written twice."
    Error UnsupportedVersion "unsupported-version" "The file is written for another version of this format."
    // One key or value.
    Error UnknownKey "unknown-key" "The section has no such key."
    Error MissingKey "missing-key" "The section lacks a key that it must have."
    Error WrongType "wrong-type" "The value has the wrong TOML type."
    Error UnknownWord "unknown-word" "The value is not one of the words that the key takes."
    Error OutOfRange "out-of-range" "The number is below or above what the key takes."
    Error PortZero "port-zero" "Port 0 is no port."
    Error BadPort "bad-port" "The value is not a port."
    Error BadPortRange "bad-port-range" "The value is not a range of ports, low-high."
    Error BadAddress "bad-address" "The value is not an IPv4 or IPv6 address."
    Error MappedAddress "mapped-address" "An IPv4 address is written as an IPv6 one (::ffff:a.b.c.d)."
    Error UnusableAddress "unusable-address" "The address can't belong to a host here: multicast, loopback, unspecified, link-local, broadcast or reserved."
    Error BadPrefix "bad-prefix" "The value is not a prefix, address/length."
    Error HostBits "host-bits" "The prefix has bits set beyond its length."
    Error BadDuration "bad-duration" "The value is not a duration such as 500ms, 2s or 1m."
    Error BadName "bad-name" "The name holds characters that a name can't have."
    Error NameTooLong "name-too-long" "The name is longer than 63 characters, or a device name longer than 15."
    Error BadHashKey "bad-hash-key" "The hash key is not 32 hexadecimal digits."
    Error BadHost "bad-host" "The value is not a host name as HTTP's Host header takes it."
    Error BadPath "bad-path" "The value is not an absolute HTTP path."
    Error EmptyList "empty-list" "A list must have at least one entry."
    Error DuplicateEntry "duplicate-entry" "A list holds the same entry twice."
    // Names.
    Error DuplicateName "duplicate-name" "Two sections of one kind have the same name."
    Error ReservedName "reserved-name" "The name has a meaning of its own in this place."
    Error UnknownPool "unknown-pool" "There is no pool of this name."
    Error UnknownInterface "unknown-interface" "There is no interface of this name."
    Error UnknownSnatPool "unknown-snat-pool" "There is no SNAT pool of this name."
    Error UnknownHealthCheck "unknown-health-check" "There is no health check of this name."
    Error UnknownNode "unknown-node" "There is no node of this name."
    // Nodes.
    Error TooManyNodes "too-many-nodes" "A pair has two nodes."
    Error NodeWithoutValue "node-without-value" "A table of per-node values lacks a node."
    Error NodeRequired "node-required" "The file describes two nodes: say which of them this host is."
    Error MissingHashKey "missing-hash-key" "Two nodes need a common hash key, or they map flows differently."
    Error SameAddressOnBothNodes "same-address-on-both-nodes" "Both nodes have the same own address."
    // Interfaces.
    Error NoInterface "no-interface" "There is no interface."
    Error DuplicateDevice "duplicate-device" "Two interfaces name the same device."
    Error DuplicateAddress "duplicate-address" "Two interfaces have the same own address."
    Error DuplicateGateway "duplicate-gateway" "An interface has two gateways of one family."
    Error GatewayOffLink "gateway-off-link" "The gateway is in no subnet of its interface."
    Error GatewayIsHost "gateway-is-host" "The gateway is this host's own address."
    // Virtual servers.
    Error DuplicateVirtualServer "duplicate-virtual-server" "Two virtual servers have the same address, port and protocol."
    Error VipIsHostAddress "vip-is-host-address" "A VIP with every port is this host's own address: its SSH would be lost."
    Warning VipIsOwnAddress "vip-is-own-address" "A VIP is this host's own address, so it can't move to the peer."
    Error VipIsGateway "vip-is-gateway" "A VIP is a gateway's address."
    Error PoolMissing "pool-missing" "Every mode but local needs a pool."
    Error LocalWithPool "local-with-pool" "This host serves a local virtual server: there is no pool to choose from."
    Error KeyNotForMode "key-not-for-mode" "The key has no meaning in this mode."
    Error SnatMissing "snat-missing" "full-nat must say where the source address comes from."
    Error SnatWithoutFullNat "snat-without-full-nat" "Only full-nat changes the source address."
    Error PrefixFamily "prefix-family" "An allow or deny prefix is not of the VIP's family."
    Error AllowAndDeny "allow-and-deny" "The same prefix is allowed and denied."
    Error MssClampWithoutTcp "mss-clamp-without-tcp" "Only TCP has an MSS."
    // Virtual servers and their pools.
    Error FamilyMix "family-mix" "VIP and backend are of different families, which only tunnels can join."
    Error PortRewrite "port-rewrite" "Only dnat and full-nat can change the port."
    Error BackendPortForAnyPort "backend-port-for-any-port" "A virtual server for every port can't have one backend port."
    Error BackendNotOnLink "backend-not-on-link" "l2-dsr reaches only backends in a subnet of this host."
    Error NoWayOut "no-way-out" "full-nat has no source address of the family on the way to the backend."
    // Pools.
    Error EmptyPool "empty-pool" "A pool has no backend."
    Warning UnusedPool "unused-pool" "No virtual server uses the pool."
    Error DuplicateBackend "duplicate-backend" "A pool has the same address and port twice."
    Error AllWeightsZero "all-weights-zero" "No backend of the pool has a weight above 0: none would get a flow."
    Warning NoBackendEnabled "no-backend-enabled" "No backend of the pool is enabled: none gets new flows."
    Error BackendIsVip "backend-is-vip" "A backend's address is a VIP: packets would go in circles."
    Error BackendIsHost "backend-is-host" "A backend's address is this host's own."
    Error UnreachableAddress "unreachable-address" "The address is outside every interface's subnet, and no interface has a gateway of its family."
    Error AmbiguousInterface "ambiguous-interface" "Several interfaces could be meant: name one."
    // SNAT.
    Error OverlappingSnat "overlapping-snat" "Two SNAT pools, or a SNAT pool and automap, take the same ports of the same address."
    Error SnatIsHostAddress "snat-is-host-address" "A SNAT pool has this host's own address: it would take the host's own connections."
    Error AutomapSystemPorts "automap-system-ports" "Automap takes ports below 1024: the way in by SSH would be lost."
    Warning AutomapEphemeralPorts "automap-ephemeral-ports" "Automap takes ports that the host uses for its own connections, by the kernel's default."
    Error SnatPortIsVip "snat-port-is-vip" "A SNAT pool takes an address and port that a virtual server has."
    Error AutomapPortIsVip "automap-port-is-vip" "Automap takes a port of an own address that a virtual server has."
    Error SnatFamily "snat-family" "The SNAT pool has no address of the family."
    Error SnatInterface "snat-interface" "The SNAT pool belongs to another interface."
    Error RangeTooSmall "range-too-small" "Two nodes can't share a range of a single port."
    Warning UnusedSnatPool "unused-snat-pool" "Nothing uses the SNAT pool."
    Error DuplicateEgress "duplicate-egress" "Two egress rules have the same source."
    // Health checks.
    Error KeyNotForType "key-not-for-type" "The key has no meaning for this type of health check."
    Error HealthCheckPort "health-check-port" "It is not clear which port to check."
    Warning UnusedHealthCheck "unused-health-check" "No pool uses the health check."
    // Limits.
    Error TooManyVirtualServers "too-many-virtual-servers" "More virtual servers than limits.virtual_servers."
    Error TooManyBackends "too-many-backends" "More backends than limits.backends."
    Error TooManyPrefixes "too-many-prefixes" "More allow and deny prefixes than there is room for."
    Error TooManyInterfaces "too-many-interfaces" "More interfaces than one daemon serves."
    Error TooManyAddresses "too-many-addresses" "More own addresses than an interface is expected to have."
    Error TooManySnatPools "too-many-snat-pools" "More SNAT pools or addresses than there is room for."
    Error TooManyEgress "too-many-egress" "More egress rules than there is room for."
}

impl Display for Code {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
