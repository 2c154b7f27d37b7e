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
    ($($severity:ident $variant:ident $name:literal $about:literal $next:literal)*) => {
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

            /// What to do about it.
            pub fn next(self) -> &'static str {
                match self { $(Code::$variant => $next,)* }
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
        "Give the right path; for a first file: forwarder config init."
    Error UnreadableFile "unreadable-file" "The file exists but can't be read."
        "Look at the permissions (ls -l): the user that runs the command or the daemon must be able to read it."
    Error FileTooLarge "file-too-large" "The file is larger than 8 MiB."
        "Is it the right file? Thousands of virtual servers fit into 8 MiB."
    Error NotText "not-text" "The file is not UTF-8 text, or holds a NUL byte."
        "Save the file as UTF-8; a NUL byte often means UTF-16, or that it was not written completely."
    Error Syntax "syntax" "The file is not TOML; often a missing quote or bracket, or a key written twice."
        "Mend the place shown: strings are in double quotes, a list of tables is [[name]], a key stands once in its table."
    Error UnsupportedVersion "unsupported-version" "The file is written for another version of this format."
        "Write version = 1, or use the release that the file was written for."
    // One key or value.
    Error UnknownKey "unknown-key" "The section has no such key."
        "Correct the spelling, or move the key to the section that has it: docs/configuration.md, forwarder config schema."
    Error MissingKey "missing-key" "The section lacks a key that it must have."
        "Add the key; the message shows an example."
    Error WrongType "wrong-type" "The value has the wrong TOML type."
        "Write the value as the message expects it: with quotes or without, in brackets or alone."
    Error UnknownWord "unknown-word" "The value is not one of the words that the key takes."
        "Use one of the words that the message lists."
    Error OutOfRange "out-of-range" "The number is below or above what the key takes."
        "Use a number between the bounds that the message names."
    Error PortZero "port-zero" "Port 0 is no port."
        "Use a port from 1 to 65535; for all ports of a virtual server write port = \"any\"."
    Error BadPort "bad-port" "The value is not a port."
        "Use a number from 1 to 65535 without quotes."
    Error BadPortRange "bad-port-range" "The value is not a range of ports, low-high."
        "Write it as \"low-high\", the lower port first."
    Error BadAddress "bad-address" "The value is not an IPv4 or IPv6 address."
        "Write an address without port or prefix length, such as 192.0.2.1 or 2001:db8::1; names are not resolved."
    Error MappedAddress "mapped-address" "An IPv4 address is written as an IPv6 one (::ffff:a.b.c.d)."
        "Write it as the IPv4 address that it is."
    Error UnusableAddress "unusable-address" "The address can't belong to a host here: multicast, loopback, unspecified, link-local, broadcast or reserved."
        "Use an address that a host on the network can have."
    Error BadPrefix "bad-prefix" "The value is not a prefix, address/length."
        "Write it as address/length, such as 192.0.2.0/24."
    Error HostBits "host-bits" "The prefix has bits set beyond its length."
        "Shorten the address to the network's (the message shows it), or make the prefix longer."
    Error BadDuration "bad-duration" "The value is not a duration such as 500ms, 2s or 1m."
        "Write a number and a unit: 500ms, 2s or 1m."
    Error BadName "bad-name" "The name holds characters that a name can't have."
        "Use letters, digits, dots, dashes and underscores."
    Error NameTooLong "name-too-long" "The name is longer than 63 characters, or a device name longer than 15."
        "Shorten it; device names are those that ip link shows."
    Error BadHashKey "bad-hash-key" "The hash key is not 32 hexadecimal digits."
        "Make one with: openssl rand -hex 16."
    Error BadHost "bad-host" "The value is not a host name as HTTP's Host header takes it."
        "Write a host name, with a port if need be, without scheme or path."
    Error BadListen "bad-listen" "The value is not an address with a port to listen on."
        "Write address and port: \"127.0.0.1:9477\", or \"[::1]:9477\" for IPv6."
    Error BadPath "bad-path" "The value is not an absolute path, of HTTP or of a file."
        "Begin the path with /; in HTTP leave out host and scheme."
    Error BadStatus "bad-status" "The value is not a range of HTTP status codes."
        "Write a number from 100 to 599, or a range in quotes such as \"200-299\"."
    Error BadPayload "bad-payload" "The bytes to send or to expect are too many, or not written as hexadecimal digits."
        "Write a text, or \"hex:\" and pairs of hexadecimal digits; at most 1024 bytes."
    Error BadCloudId "bad-cloud-id" "The value is not what the cloud calls a thing of this kind."
        "Copy the id from the cloud's console; a tag is written key=value."
    Error BadUrl "bad-url" "The value is not a URL without path."
        "Write scheme, host and, if need be, port: \"https://ec2.example.com\"."
    Error EmptyList "empty-list" "A list must have at least one entry."
        "Add an entry, or leave the key out."
    Error DuplicateEntry "duplicate-entry" "A list holds the same entry twice."
        "Remove one of the two."
    // Names.
    Error DuplicateName "duplicate-name" "Two sections of one kind have the same name."
        "Rename one of the two; everything that refers to it by name must follow."
    Error ReservedName "reserved-name" "The name has a meaning of its own in this place."
        "Choose another name."
    Error UnknownPool "unknown-pool" "There is no pool of this name."
        "Correct the name, or add a [[pool]] of this name."
    Error UnknownInterface "unknown-interface" "There is no interface of this name."
        "Correct the name, or add an [[interface]] of this name; it is the name in the file that counts, not the device."
    Error UnknownSnatPool "unknown-snat-pool" "There is no SNAT pool of this name."
        "Correct the name, add a [[snat_pool]] of this name, or write \"automap\"."
    Error UnknownHealthCheck "unknown-health-check" "There is no health check of this name."
        "Correct the name, or add a [[health_check]] of this name."
    Error UnknownNode "unknown-node" "There is no node of this name."
        "Use a name that a [[node]] of the file has."
    // Nodes.
    Error TooManyNodes "too-many-nodes" "A pair has two nodes."
        "Keep two; further hosts are pairs of their own, with files of their own."
    Error NodeWithoutValue "node-without-value" "A table of per-node values lacks a node."
        "Add a value for each node, or write one value for both."
    Error NodeRequired "node-required" "The file describes two nodes: say which of them this host is."
        "Add --node NAME, with the name that the file has for this host."
    Error MissingHashKey "missing-hash-key" "Two nodes need a common hash key, or they map flows differently."
        "Make one with openssl rand -hex 16 and put it at the top of the file as hash_key."
    Error SameAddressOnBothNodes "same-address-on-both-nodes" "Both nodes have the same own address."
        "Give each node an address of its own; only VIPs are shared."
    Error PairWithoutPeer "pair-without-peer" "A pair is described, but not two nodes."
        "Name both nodes in [[node]] sections."
    Error PairPath "pair-path" "The nodes of a pair have no path, or one between addresses that can't be its ends."
        "Give [[pair.path]] an address of each node: two addresses of one family."
    Error UnknownGroup "unknown-group" "There is no group of this name."
        "Correct the name, or add a [[pair.group]] of this name."
    Error TooManyGroups "too-many-groups" "More groups than a pair can have."
        "Merge groups; virtual servers of one group move together."
    Error SplitVip "split-vip" "Virtual servers of one VIP are in different groups: an address is on one node at a time."
        "Put all virtual servers of the VIP into one group."
    Error SplitSnatPool "split-snat-pool" "Virtual servers of different groups use one SNAT pool, or the floating addresses: an address is on one node at a time."
        "Give each group a SNAT pool of its own."
    Warning UnusedGroup "unused-group" "No virtual server is in the group."
        "Let a virtual server name it, or remove it."
    Warning SinglePath "single-path" "There is only one path between the nodes: when it fails, both will be active."
        "Add a second [[pair.path]] over another network."
    // Interfaces.
    Error NoInterface "no-interface" "There is no interface."
        "Add an [[interface]] with the device that clients come in by."
    Error DuplicateDevice "duplicate-device" "Two interfaces name the same device."
        "Keep one section for the device."
    Error DuplicateAddress "duplicate-address" "Two interfaces have the same own address."
        "Give each interface its own address, or leave `address` out: then the device's addresses hold."
    Error FloatingAddress "floating-address" "A floating address is an own address or a gateway, or in no subnet of its interface."
        "Give the interface an address of one of its subnets that nobody has."
    Error DuplicateGateway "duplicate-gateway" "An interface has two gateways of one family."
        "Keep one gateway of each family."
    Error GatewayOffLink "gateway-off-link" "The gateway is in no subnet of its interface."
        "Correct the gateway, or the prefix length of the interface's address."
    Error GatewayIsHost "gateway-is-host" "The gateway is this host's own address."
        "Use the router's address."
    // Virtual servers.
    Error DuplicateVirtualServer "duplicate-virtual-server" "Two virtual servers have the same address, port and protocol."
        "Remove one, or give it another address, port or protocol."
    Warning SharedBackendPort "shared-backend-port" "Two virtual servers in dnat bring clients to the same port of a backend: what it answers can't be told apart if a client uses one port of its own for both."
        "Give each a backend port of its own, or keep the VIP (a DSR mode), or use full-nat."
    Error VipIsHostAddress "vip-is-host-address" "A VIP with every port is this host's own address: its SSH would be lost."
        "Name the ports that are to be served, or use an address of its own for the VIP."
    Warning VipIsOwnAddress "vip-is-own-address" "A VIP is this host's own address, so it can't move to the peer."
        "On a single host this is fine; in a pair use an address of its own for the VIP."
    Error VipIsGateway "vip-is-gateway" "A VIP is a gateway's address."
        "Use another address for the VIP."
    Error PoolMissing "pool-missing" "Every mode but local needs a pool."
        "Add pool = \"NAME\", or use mode local."
    Error LocalWithPool "local-with-pool" "This host serves a local virtual server: there is no pool to choose from."
        "Remove `pool`, or choose another mode."
    Error KeyNotForMode "key-not-for-mode" "The key has no meaning in this mode."
        "Remove the key, or choose a mode that has it."
    Error SnatMissing "snat-missing" "full-nat must say where the source address comes from."
        "Add snat = \"automap\", or the name of a [[snat_pool]]."
    Error SnatWithoutFullNat "snat-without-full-nat" "Only full-nat changes the source address."
        "Remove `snat`, or use mode full-nat."
    Error PrefixFamily "prefix-family" "An allow or deny prefix is not of the VIP's family."
        "Use prefixes of the VIP's family."
    Error AllowAndDeny "allow-and-deny" "The same prefix is allowed and denied."
        "Remove the prefix from one of the lists; the longest prefix decides, so exceptions can be longer ones."
    Error MssClampWithoutTcp "mss-clamp-without-tcp" "Only TCP has an MSS."
        "Remove `mss_clamp`, or set protocol = \"tcp\"."
    // Virtual servers and their pools.
    Error FamilyMix "family-mix" "VIP and backend are of different families, which only tunnels can join."
        "Use backends of the VIP's family, or a tunnel mode."
    Error PortRewrite "port-rewrite" "Only dnat and full-nat can change the port."
        "Remove the backend's port, or use dnat or full-nat."
    Error BackendPortForAnyPort "backend-port-for-any-port" "A virtual server for every port can't have one backend port."
        "Remove the backend's port: each packet keeps its own."
    Error BackendNotOnLink "backend-not-on-link" "l2-dsr reaches only backends in a subnet of this host."
        "Use a backend in a subnet of an interface, or a tunnel mode."
    Error NoWayOut "no-way-out" "full-nat has no source address of the family on the way to the backend."
        "Give the interface towards the backend an address of the family, or name a SNAT pool."
    // Pools.
    Error EmptyPool "empty-pool" "A pool has no backend."
        "Add a backend; to take one out of service use state = \"disabled\"."
    Warning UnusedPool "unused-pool" "No virtual server uses the pool."
        "Let a virtual server use it, or remove it."
    Error DuplicateBackend "duplicate-backend" "A pool has the same address and port twice."
        "Remove one; for a larger share raise its weight."
    Error AllWeightsZero "all-weights-zero" "No backend of the pool has a weight above 0: none would get a flow."
        "Give at least one backend a weight; to let a pool run dry use state = \"drained\"."
    Warning NoBackendEnabled "no-backend-enabled" "No backend of the pool is enabled: none gets new flows."
        "Enable a backend unless the pool is to run dry."
    Error BackendIsVip "backend-is-vip" "A backend's address is a VIP: packets would go in circles."
        "Use the backend's own address."
    Error BackendIsHost "backend-is-host" "A backend's address is this host's own."
        "Use mode local for what this host serves itself."
    Error UnreachableAddress "unreachable-address" "The address is outside every interface's subnet, and no interface has a gateway of its family."
        "Correct the address, or add a gateway to the interface that leads there."
    Error AmbiguousInterface "ambiguous-interface" "Several interfaces could be meant: name one."
        "Add interface = \"NAME\"."
    // SNAT.
    Error OverlappingSnat "overlapping-snat" "Two SNAT pools, or a SNAT pool and automap, take the same ports of the same address."
        "Give each its own addresses, or separate port ranges."
    Error SnatIsHostAddress "snat-is-host-address" "A SNAT pool has this host's own address: it would take the host's own connections."
        "Use snat = \"automap\", which shares the ports, or an address of its own."
    Error AutomapSystemPorts "automap-system-ports" "Automap takes ports below 1024: the way in by SSH would be lost."
        "Begin the range at 1024 or above."
    Warning AutomapEphemeralPorts "automap-ephemeral-ports" "Automap takes ports that the host uses for its own connections, by the kernel's default."
        "Keep the range out of net.ipv4.ip_local_port_range, or move that one."
    Warning AutomapNotFloating "automap-not-floating" "In a pair, automap takes an address of the node itself: connections end when the other node takes over."
        "Add a `floating_address` to the interface towards the backends, or name a SNAT pool."
    Error SnatPortIsVip "snat-port-is-vip" "A SNAT pool takes an address and port that a virtual server has."
        "Use another address for SNAT, or ports that leave the virtual server's out."
    Error AutomapPortIsVip "automap-port-is-vip" "Automap takes a port of an own address that a virtual server has."
        "Move automap.ports away from the virtual server's port."
    Error SnatFamily "snat-family" "The SNAT pool has no address of the family."
        "Add an address of the family to the SNAT pool."
    Error SnatInterface "snat-interface" "The SNAT pool belongs to another interface."
        "Use a SNAT pool of the interface that the packets leave by."
    Error RangeTooSmall "range-too-small" "Two nodes can't share a range of a single port."
        "Make the range larger: each node takes its half."
    Warning UnusedSnatPool "unused-snat-pool" "Nothing uses the SNAT pool."
        "Let a virtual server or egress rule use it, or remove it."
    Error EgressHosts "egress-hosts" "An egress rule says nothing of the hosts, or says it twice."
        "Give source, a prefix, or pool, whose backends are the hosts."
    Error PortsPerBackend "ports-per-backend" "Ports can't be given out by backend: there is no pool, no SNAT pool, or not enough ports."
        "Name pool and snat; so many ports for each backend have to fit into this node's ports of the SNAT pool's addresses."
    Error DuplicateEgress "duplicate-egress" "Two egress rules have the same source."
        "Keep one rule for the source."
    // Health checks.
    Error KeyNotForType "key-not-for-type" "The key has no meaning for this type of health check or probe."
        "Remove the key, or use the type that has it."
    Error HealthCheckPort "health-check-port" "It is not clear which port to check."
        "Add `port` to the health check, or `port` or `check_port` to the backends."
    Error CheckWithoutTunnel "check-without-tunnel" "The health check goes through a tunnel where there is none."
        "Use `via = \"tunnel\"` only in pools whose virtual servers are all of a tunnel mode, `ipip-dsr` or `gue-dsr`."
    Error CheckWithoutHealthCheck "check-without-health-check" "The backend says where to check, but nothing checks it."
        "Add `health_check` to the pool or to the backend, or remove the key."
    Warning UnusedHealthCheck "unused-health-check" "No pool and no backend uses the health check."
        "Let a pool or a backend use it, or remove it."
    // The cloud.
    Error CloudAddress "cloud-address" "What is to move in the cloud is nothing that the file has, or can't move there."
        "Move VIPs, floating addresses and addresses of SNAT pools, each once, at the interface that has them."
    Error CloudWhich "cloud-which" "It is not clear which thing of the cloud is meant."
        "Give its id, or a tag that it has, and not both."
    Error CloudLimit "cloud-limit" "A network interface would have more addresses than it may, or the node more network interfaces."
        "Move prefixes, which count as one address each, spread addresses over more interfaces, or use a larger instance type."
    Warning CloudUnknownType "cloud-unknown-type" "How many addresses a network interface of this instance type may have is not known here."
        "Name a `limits_file` and run `forwarder cloud limits --refresh FILE`, or give `address_limit`."
    Warning CloudLimitsFile "cloud-limits-file" "The file of limits can't be read: the built-in figures hold."
        "Write it with `forwarder cloud limits --refresh FILE`."
    // Limits.
    Error TooManyVirtualServers "too-many-virtual-servers" "More virtual servers than limits.virtual_servers."
        "Raise limits.virtual_servers; that takes a restart."
    Error TooManyBackends "too-many-backends" "More backends than limits.backends."
        "Raise limits.backends; that takes a restart."
    Error TooManyPrefixes "too-many-prefixes" "More allow and deny prefixes than there is room for."
        "Merge prefixes: shorter ones, with exceptions in the other list."
    Error TooManyInterfaces "too-many-interfaces" "More interfaces than one daemon serves."
        "Remove interfaces; a VLAN needs none of its own."
    Error TooManyAddresses "too-many-addresses" "More own addresses than an interface is expected to have."
        "Name the addresses that matter in `address`."
    Error TooManySnatPools "too-many-snat-pools" "More SNAT pools or addresses than there is room for."
        "Merge SNAT pools, or use fewer addresses with more ports."
    Error TooManyEgress "too-many-egress" "More egress rules than there is room for."
        "Merge rules into shorter prefixes."
}

impl Display for Code {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
