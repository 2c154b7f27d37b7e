//! Every section and key of the file, declared once.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use forwarder_common::Mode;

use super::model::{
    Affinity, BackendState, InterfaceAddress, PartitionPolicy, Payload, PortRange, ServicePort,
    StatusRange, Transmit, WhenDown,
};
use super::prefix::Prefix;
use super::section::section;
use super::value::{
    AllocationId, BucketName, CloudProvider, CloudUrl, Device, FilePath, HashKey, HttpHost,
    HttpPath, IdleTime, InstanceType, List, Many, Name, NetworkInterfaceId, Number, ObjectPrefix,
    OneOrMany, PerNode, ProbeProtocol, ProbeType, ProbeVia, Protocols, Region, RouteTableId, Tag,
};

section! {
    /// The top of the file, before the first section.
    "" Document {
        /// The version of this format.
        version: Number<1, 65_535> = Required, "1";
        /// The key of the flow hash, secret and the same on both nodes, so that both map every flow
        /// alike and nobody outside can aim flows at one backend.
        hash_key: HashKey = Optional("a random one, for a single node; a pair must give it"),
            "\"00112233445566778899aabbccddeeff\"";
        /// How much there is room for.
        limits: Limits = Default("{}"), "{ flows = 2000000 }";
        /// The nodes of a pair; at most two.
        node: Many<Node> = Default("[]"), "[{ name = \"lb1\" }, { name = \"lb2\" }]";
        /// How the two nodes watch each other, so that one is active and the other takes over.
        pair: Pair = Optional("none: each node is active, whatever the other does"),
            "{ key_file = \"/etc/forwarder/pair.key\", path = [{ address = { lb1 = \"10.0.2.4\", lb2 = \"10.0.2.5\" } }] }";
        /// The interfaces that the data plane is attached to.
        interface: Many<Interface> = Default("[]"), "[{ name = \"outside\", device = \"eth0\" }]";
        /// What is forwarded.
        virtual_server: Many<VirtualServer> = Default("[]"),
            "[{ name = \"web\", address = \"203.0.113.10\", port = 80, mode = \"dnat\", pool = \"web\" }]";
        /// Where to.
        pool: Many<Pool> = Default("[]"),
            "[{ name = \"web\", backend = [{ address = \"10.0.2.11\" }] }]";
        /// Where source addresses come from.
        snat_pool: Many<SnatPool> = Default("[]"),
            "[{ name = \"out\", addresses = [\"192.0.2.10\"] }]";
        /// SNAT of connections that hosts behind this one open themselves.
        egress: Many<Egress> = Default("[]"),
            "[{ source = \"10.0.2.0/24\", interface = \"outside\", snat = \"automap\" }]";
        /// How backends are checked.
        health_check: Many<HealthCheck> = Default("[]"), "[{ name = \"http\", type = \"http\" }]";
        /// Settings of the tunnel modes.
        tunnel: Tunnel = Default("{}"), "{ gue_port = 6080 }";
        /// Settings of `snat = "automap"`.
        automap: Automap = Default("{}"), "{ ports = \"16384-32767\" }";
        /// Who may use the admin socket.
        admin: Admin = Default("{}"), "{ group = \"netops\" }";
        /// Ports that tell a load balancer in front whether this node is active.
        probe: Many<Probe> = Default("[]"), "[{ port = 8086 }]";
        /// Programs that are told when this node becomes active or standby.
        hook: Many<Hook> = Default("[]"), "[{ program = \"/etc/forwarder/role-changed\" }]";
        /// Routes to the VIPs, for a routing daemon to redistribute.
        routes: Routes = Default("{}"), "{ table = 254 }";
        /// What of the cloud moves to the active node, and how its API is reached.
        cloud: Cloud = Optional("none: nothing is asked of a cloud"),
            "{ address = [{ interface = \"outside\", private = [\"10.0.1.10\"] }] }";
        /// Metrics over TCP.
        metrics: Metrics = Default("{}"), "{ listen = \"127.0.0.1:9477\" }";
    }
}

section! {
    /// How much there is room for. Maps are made of these sizes when the daemon starts.
    "limits" Limits {
        /// Virtual servers, and distinct VIPs, of one family.
        virtual_servers: Number<1, 65_536> = Default("4096"), "8192";
        /// Backends over all pools.
        backends: Number<1, 65_536> = Default("16384"), "32768";
        /// Established NAT flows of one family.
        flows: Number<1_024, 16_777_216> = Default("1000000"), "2000000";
        /// Half-open NAT flows of one family; the oldest makes room for the newest.
        embryonic_flows: Number<1_024, 16_777_216> = Default("65536"), "131072";
        /// Slots of all pools' lookup tables together, 8 bytes each.
        table_slots: Number<1_024, 16_777_216> = Default("4194304"), "8388608";
    }
}

section! {
    /// A node of a pair. Without any, the file is for a single host. With two, every value marked
    /// "for each node" may be a table keyed by these names.
    "node" Node {
        /// The name, as `forwarder run --node` takes it.
        name: Name = Required, "\"lb1\"";
    }
}

section! {
    /// How the two nodes watch each other, and which is to be active.
    "pair" Pair {
        /// Where the nodes reach each other; better two, over different networks.
        path: Many<Path> = Default("[]"),
            "[{ address = { lb1 = \"10.0.2.4\", lb2 = \"10.0.2.5\" } }]";
        /// The file with the secret that both nodes share. `forwarder peer keygen FILE` makes one.
        key_file: FilePath = Required, "\"/etc/forwarder/pair.key\"";
        /// The UDP port of both nodes.
        port: NonZeroU16 = Default("4747"), "4748";
        /// Between two echoes on a path; at least 5ms.
        interval: Duration = Default("\"50ms\""), "\"10ms\"";
        /// So many unanswered echoes in a row make a path down; all paths down is the peer's loss.
        multiplier: Number<3, 50> = Default("3"), "5";
        /// The node with the higher one is active when both start, and with `preempt` whenever it is well.
        priority: PerNode<Number<1, 255>> = Default("100"), "{ lb1 = 200, lb2 = 100 }";
        /// Whether the node with the higher priority takes over again once it is back.
        preempt: bool = Default("false"), "true";
        /// How long it must have been well before it does.
        failback_delay: Duration = Default("\"30s\""), "\"2m\"";
        /// How long a node forwards what still comes to it after it has handed over. Behind a load balancer
        /// that leaves old flows where they are, as long as these take.
        drain: Duration = Default("\"500ms\""), "\"5m\"";
        /// Who is active while the nodes can't hear each other: each node (`stay`), the one with the higher
        /// priority or, if they are equal, the first of the file (`yield`), whoever reaches a gateway
        /// (`gateway`), or whoever gets a lease in etcd (`etcd`).
        partition: PartitionPolicy = Default("\"stay\""), "\"yield\"";
        /// With `partition = "gateway"`: a node that reaches one of these by ICMP echo may be active alone.
        gateway: PerNode<OneOrMany<IpAddr>> = Optional("none"),
            "{ lb1 = \"10.0.2.1\", lb2 = \"10.0.2.1\" }";
        /// With `partition = "etcd"`: where the lease is to be had.
        etcd: Etcd = Optional("none"), "{ address = \"10.0.5.1:2379\" }";
        /// Groups of virtual servers, each with a preferred node of its own, so that both nodes carry
        /// traffic. Virtual servers that name none are in the group `default`.
        group: Many<Group> = Default("[]"),
            "[{ name = \"mail\", priority = { lb1 = 100, lb2 = 200 } }]";
    }
}

section! {
    /// A lease in etcd, which one node at a time can have.
    "pair.etcd" Etcd {
        /// The servers of one cluster, by the v3 API. Addresses: a name server may be cut off, too.
        address: OneOrMany<SocketAddr> = Required, "[\"10.0.5.1:2379\", \"10.0.5.2:2379\"]";
        /// Certificates (PEM) of the authorities that the servers' certificates must come from; they must be
        /// for the addresses.
        ca_file: FilePath = Optional("plain HTTP"), "\"/etc/forwarder/etcd-ca.pem\"";
        /// The node's own certificate (PEM), if the servers want one.
        certificate_file: FilePath = Optional("none"), "\"/etc/forwarder/etcd.pem\"";
        /// The private key of it (PEM). Only its owner may read it.
        key_file: FilePath = Optional("none"), "\"/etc/forwarder/etcd.key\"";
        /// The name of a user of etcd; it needs to read and write keys that begin with `forwarder/`.
        user: Name = Optional("none"), "\"forwarder\"";
        /// The file with that user's password. Only its owner may read it.
        password_file: FilePath = Optional("none"), "\"/etc/forwarder/etcd.password\"";
        /// How long a node that is active alone keeps the lease without an answer of etcd: whole seconds, 2 to
        /// 60. After its death nobody else can have it for up to two seconds longer.
        lease: Duration = Default("\"5s\""), "\"10s\"";
    }
}

section! {
    /// Virtual servers that move between the nodes together.
    "pair.group" Group {
        /// The name; not `default`.
        name: Name = Required, "\"mail\"";
        /// As the pair's, for this group.
        priority: PerNode<Number<1, 255>> = Optional("the pair's"), "{ lb1 = 100, lb2 = 200 }";
    }
}

section! {
    /// A path between the nodes.
    "pair.path" Path {
        /// The address of each node.
        address: PerNode<IpAddr> = Required, "{ lb1 = \"10.0.2.4\", lb2 = \"10.0.2.5\" }";
    }
}

section! {
    /// An interface that the data plane is attached to.
    "interface" Interface {
        /// The word that the rest of the file uses.
        name: Name = Required, "\"outside\"";
        /// The kernel's name of the device.
        device: PerNode<Device> = Required, "\"eth0\"";
        /// How packets leave that leave by the interface they came in by: `tx` sends them from the
        /// driver's receive queue, `redirect` through its transmit queues.
        transmit: PerNode<Transmit> = Default("\"auto\""), "\"redirect\"";
        /// Whether generic XDP, which is slow, will do where the driver has no native XDP.
        allow_generic: PerNode<bool> = Default("false"), "true";
        /// Own addresses with their prefix lengths. The first of a family is the source of tunnels;
        /// all of them serve automap unless there is a floating one.
        address: PerNode<OneOrMany<InterfaceAddress>> = Optional("those that the device has"),
            "{ lb1 = \"198.51.100.4/24\", lb2 = \"198.51.100.5/24\" }";
        /// Addresses that are at the pair's active node, beside those of its own: it answers for them as for
        /// VIPs, and automap takes them instead of own ones, so that connections outlive a takeover.
        floating_address: OneOrMany<IpAddr> = Optional("none"), "\"198.51.100.6\"";
        /// The next hop for addresses in no subnet, one of a family.
        gateway: PerNode<OneOrMany<IpAddr>> = Optional("the host's routes"),
            "[\"198.51.100.1\", \"fe80::1\"]";
    }
}

section! {
    /// A VIP with a port and a protocol, and what happens to packets that are sent to it.
    "virtual_server" VirtualServer {
        /// The name.
        name: Name = Required, "\"web\"";
        /// The VIP.
        address: PerNode<IpAddr> = Required, "\"203.0.113.10\"";
        /// The port, or every port that no other virtual server of this VIP has.
        port: ServicePort = Required, "80";
        /// The transport protocol; `any` is both, as two virtual servers, with `/tcp` and `/udp` after the name.
        protocol: Protocols = Default("\"tcp\""), "\"udp\"";
        /// The group that it moves between the nodes of a pair with. All virtual servers of a VIP are in
        /// one, and so are all that use a SNAT pool.
        group: Name = Optional("`default`"), "\"mail\"";
        /// How packets reach the backend.
        mode: Mode = Required, "\"l2-dsr\"";
        /// The pool they go to; every mode but `local` needs one.
        pool: Name = Optional("none, for `local`"), "\"web\"";
        /// Where `full-nat` takes the source address from: `automap` (a floating or else an own address
        /// of the interface towards the backend) or the name of a SNAT pool.
        snat: Name = Optional("none; `full-nat` must give it"), "\"automap\"";
        /// What of a packet decides the backend.
        affinity: Affinity = Optional("`\"5-tuple\"`"), "\"source\"";
        /// The interfaces where it is served, and where ARP and neighbour discovery are answered.
        interfaces: List<Name> = Optional("all"), "[\"outside\"]";
        /// Sources that may come; all others may not.
        allow: List<Prefix> = Optional("all"), "[\"10.0.0.0/8\"]";
        /// Sources that may not come. The longest prefix of both lists decides.
        deny: List<Prefix> = Optional("none"), "[\"10.6.6.0/24\"]";
        /// New flows let in per second.
        new_flows_per_second: Number<1, 100_000_000> = Optional("no limit"), "10000";
        /// How long a flow may be quiet before it is forgotten, in `dnat` and `full-nat`.
        idle_timeout: IdleTime = Optional("an hour for TCP, two minutes for UDP"), "\"15m\"";
        /// Whether both ends of a TCP connection that is forgotten are told so by a reset, in `dnat` and
        /// `full-nat`.
        idle_reset: bool = Default("false"), "true";
        /// The largest TCP segment that a SYN may announce, in bytes; larger ones are lowered to it.
        mss_clamp: Number<536, 65_495> = Optional("what fits in the tunnel modes, untouched in NAT modes"),
            "1360";
    }
}

section! {
    /// Backends that virtual servers choose from.
    "pool" Pool {
        /// The name.
        name: Name = Required, "\"web\"";
        /// The health check that says which backends are up.
        health_check: Name = Optional("none: all count as up"), "\"http\"";
        /// How long the share of new flows of a backend that came up, or joined, grows from a tenth to
        /// the whole.
        slow_start: Duration = Optional("its whole share at once"), "\"30s\"";
        /// What becomes of the flows of a backend that goes down: all `move` at once, or those of TCP stay
        /// and those of UDP move (`keep-tcp`); so do they when it is drained.
        when_down: WhenDown = Default("\"move\""), "\"keep-tcp\"";
        /// The backends.
        backend: Many<Backend> = Default("[]"), "[{ address = \"10.0.2.11\", port = 8080 }]";
    }
}

section! {
    /// A member of a pool.
    "pool.backend" Backend {
        /// The name, unique in its pool.
        name: Name = Optional("the address, with the port if one is given"), "\"web-1\"";
        /// Its address; in tunnel modes the other end of the tunnel.
        address: IpAddr = Required, "\"10.0.2.11\"";
        /// The port it listens on, in `dnat` and `full-nat`.
        port: NonZeroU16 = Optional("the virtual server's"), "8080";
        /// Its share of new flows; 0: none.
        weight: Number<0, 100> = Default("1"), "10";
        /// `enabled`; `forced` (takes flows whatever its health check says); `drained` (keeps its flows, gets
        /// no new ones); `disabled` (its flows move at once).
        state: BackendState = Default("\"enabled\""), "\"drained\"";
        /// The interface towards it.
        interface: Name = Optional("the one whose subnet holds the address, else the one with a gateway"),
            "\"inside\"";
        /// The health check of this backend.
        health_check: Name = Optional("the pool's"), "\"https\"";
        /// The address that is checked.
        check_address: IpAddr = Optional("its address"), "\"10.0.9.11\"";
        /// The port that is checked.
        check_port: NonZeroU16 = Optional("the health check's, else its own, else the virtual server's"),
            "8081";
    }
}

section! {
    /// Addresses and ports that source addresses are taken from. The nodes of a pair share the
    /// ports: the first takes the lower half, the second the upper.
    "snat_pool" SnatPool {
        /// The name; not `automap`.
        name: Name = Required, "\"out\"";
        /// The addresses. They must be routed to this host.
        addresses: PerNode<OneOrMany<IpAddr>> = Required, "[\"192.0.2.10\", \"192.0.2.11\"]";
        /// The ports of each.
        ports: PortRange = Default("\"1024-65535\""), "\"10000-59999\"";
        /// The interface that has them.
        interface: Name = Optional("the only one, or the one whose subnet holds the first"), "\"inside\"";
    }
}

section! {
    /// SNAT of connections that hosts behind this one open themselves. Of several sources the
    /// longest prefix decides.
    "egress" Egress {
        /// The hosts.
        source: Prefix = Optional("those of `pool`; one of the two must be given"), "\"10.0.2.0/24\"";
        /// The hosts are the backends of this pool.
        pool: Name = Optional("the hosts are those of `source`"), "\"web\"";
        /// Ports of the SNAT pool that each backend of `pool` has to itself, in the order of the file; on
        /// each node of a pair so many.
        ports_per_backend: Number<1, 65_535> = Optional("all share all ports"), "1024";
        /// The interface that their packets leave by.
        interface: Name = Required, "\"outside\"";
        /// `automap`, or the name of a SNAT pool of that interface.
        snat: Name = Default("\"automap\""), "\"out\"";
        /// How long a connection may be quiet before it is forgotten.
        idle_timeout: IdleTime = Optional("an hour for TCP, two minutes for UDP"), "\"4m\"";
        /// Whether both ends of a TCP connection that is forgotten are told so by a reset.
        idle_reset: bool = Default("false"), "true";
    }
}

section! {
    /// How the backends of a pool are checked.
    "health_check" HealthCheck {
        /// The name.
        name: Name = Required, "\"http\"";
        /// `tcp`: a connection is accepted. `http`, `https`: a GET is answered with a good status.
        /// `udp`: a datagram is answered, or at least not refused. `icmp`: an echo request is answered.
        r#type: ProbeType = Required, "\"http\"";
        /// Which way it goes: to the backend's `address`, or through the `tunnel` of `ipip-dsr` and `gue-dsr`
        /// to each VIP that the pool serves, as clients' packets do.
        via: ProbeVia = Default("\"address\""), "\"tunnel\"";
        /// The port that is asked (all but `icmp`).
        port: NonZeroU16 = Optional("the backend's, else the virtual server's"), "8081";
        /// The path that is asked for (`http`, `https`).
        path: HttpPath = Optional("`\"/\"`"), "\"/health\"";
        /// The Host header, and the server name that TLS asks for (`http`, `https`).
        host: HttpHost = Optional("the backend's address"), "\"www.example.com\"";
        /// The status codes that are good (`http`, `https`).
        status: List<StatusRange> = Optional("`[200]`"), "[\"200-299\", 304]";
        /// Certificates (PEM) of the authorities that the server's certificate must come from; it must
        /// be for `host` and valid now (`https`).
        ca_file: FilePath = Optional("certificates are not checked"), "\"/etc/ssl/certs/ca-certificates.crt\"";
        /// What is sent (`tcp`, `udp`): text, or `hex:` and hexadecimal digits.
        send: Payload = Optional("nothing; an empty datagram for `udp`"), "\"hex:00010000\"";
        /// What the answer must hold within its first 64 KiB, for `http` and `https` its body; `""`: any answer
        /// (all but `icmp`).
        expect: Payload = Optional("nothing; for `udp` silence is good, too"), "\"healthy\"";
        /// From the start of one check to the start of the next.
        interval: Duration = Default("\"2s\""), "\"500ms\"";
        /// A check that takes longer has failed.
        timeout: Duration = Default("\"1s\""), "\"300ms\"";
        /// Successes in a row that make a backend up.
        rise: Number<1, 100> = Default("2"), "1";
        /// Failures in a row that make a backend down.
        fall: Number<1, 100> = Default("3"), "5";
        /// A backend that goes down again and again is held down for longer each time: for two
        /// intervals, then four and so on, up to this. One that then stays up for twice as long begins anew.
        max_hold: Duration = Default("\"1m\""), "\"5m\"";
    }
}

section! {
    /// Settings of the tunnel modes.
    "tunnel" Tunnel {
        /// The UDP port that `gue-dsr` sends to.
        gue_port: NonZeroU16 = Default("6080"), "6081";
    }
}

section! {
    /// Settings of `snat = "automap"`.
    "automap" Automap {
        /// The ports taken from an interface's own address. They must not be ports that the host
        /// itself uses: neither its ephemeral ports (`net.ipv4.ip_local_port_range`, usually
        /// 32768-60999) nor ports that its own services listen on.
        ports: PortRange = Default("\"16384-32767\""), "\"20000-29999\"";
    }
}

section! {
    /// Who may use the admin socket, beside root and the daemon's own user. Groups by name or number.
    "admin" Admin {
        /// The group that may look and change.
        group: Name = Optional("the daemon's own"), "\"netops\"";
        /// The group that may look only.
        read_group: Name = Optional("none"), "\"monitoring\"";
    }
}

section! {
    /// A port of the host's own addresses that tells a load balancer in front whether this node is active.
    "probe" Probe {
        /// The port.
        port: NonZeroU16 = Required, "8086";
        /// `tcp`: connections are accepted while the node is active, and refused otherwise. `http`: a GET is
        /// answered with 200 while it is, and with 503 otherwise.
        protocol: ProbeProtocol = Default("\"tcp\""), "\"http\"";
        /// The group of virtual servers that it speaks for.
        group: Name = Optional("every group: active for one is active"), "\"mail\"";
        /// What is sent to whoever connects (`tcp`).
        message: Payload = Optional("nothing"), "\"active\"";
        /// The path that is asked for (`http`).
        path: HttpPath = Optional("`\"/\"`"), "\"/active\"";
    }
}

section! {
    /// A program that is told when this node becomes active or standby: the event is JSON on its standard input.
    "hook" Hook {
        /// The program. It runs as the daemon's user, and gets no arguments.
        program: FilePath = Required, "\"/etc/forwarder/role-changed\"";
        /// When it is killed, with all that it has started.
        timeout: Duration = Default("\"10s\""), "\"1m\"";
    }
}

section! {
    /// A route of its own to each VIP that this node is active for, which FRR or BIRD redistribute.
    "routes" Routes {
        /// The host's routing table that they are put into; 254 is `main`.
        table: Number<1, 4_294_967_295> = Optional("no routes"), "254";
    }
}

section! {
    /// What moves to the active node by calls of the cloud's API, and how that is reached. Credentials come
    /// from the environment, a web identity, the profile, or the instance's role, whichever is found first.
    "cloud" Cloud {
        /// Whose API it is.
        provider: CloudProvider = Default("\"aws\""), "\"aws\"";
        /// The region.
        region: Region = Optional("that of the instance"), "\"eu-central-1\"";
        /// The API's address, such as that of a VPC endpoint.
        endpoint: CloudUrl = Optional("the region's public one"),
            "\"https://vpce-0123.ec2.eu-central-1.vpce.amazonaws.com\"";
        /// An HTTP proxy on the way to the API.
        proxy: CloudUrl = Optional("none"), "\"http://10.0.9.9:3128\"";
        /// Certificates (PEM) of the authorities that the API's certificate must come from.
        ca_file: FilePath = Optional("those that the host trusts"), "\"/etc/forwarder/ca.pem\"";
        /// Between two looks at what is where; at least 1s.
        refresh: Duration = Default("\"10s\""), "\"30s\"";
        /// Where each move is written down, one line of JSON each.
        journal: FilePath = Optional("`cloud.journal` beside the admin socket"),
            "\"/var/lib/forwarder/cloud.journal\"";
        /// A bucket (S3) that gets copies of the journal. Nothing waits for it.
        journal_bucket: BucketName = Optional("none"), "\"forwarder-journal\"";
        /// What the names of the copies begin with; a pair has one of its own.
        journal_prefix: ObjectPrefix = Default("\"forwarder/\""), "\"forwarder/web/\"";
        /// The bucket's address, such as that of a VPC endpoint.
        journal_endpoint: CloudUrl = Optional("the region's public one"),
            "\"https://bucket.vpce-0123.s3.eu-central-1.vpce.amazonaws.com\"";
        /// The nodes' type, to check how many network interfaces and addresses it may have.
        instance_type: PerNode<InstanceType> = Optional("not checked"), "\"m6i.xlarge\"";
        /// Figures of instance types that go before the built-in ones; `forwarder cloud limits --refresh` writes it.
        limits_file: FilePath = Optional("the built-in figures"), "\"/var/lib/forwarder/limits.toml\"";
        /// How many private addresses of a family a network interface may have, with its primary one; a
        /// prefix counts as one.
        address_limit: PerNode<Number<2, 1_000>> = Optional("that of the instance type"), "30";
        /// Private addresses and prefixes that move between network interfaces of one subnet.
        address: Many<CloudAddress> = Default("[]"),
            "[{ interface = \"outside\", private = [\"10.0.1.10\"] }]";
        /// Elastic and carrier IP addresses that move between private addresses, of any subnets.
        elastic_ip: Many<ElasticIp> = Default("[]"),
            "[{ allocation = \"eipalloc-0123\", interface = \"outside\", private = { lb1 = \"10.0.1.10\", lb2 = \"10.0.2.10\" } }]";
        /// Routes that lead to the active node's network interface.
        route: Many<CloudRoute> = Default("[]"),
            "[{ table = \"rtb-0123\", destination = \"0.0.0.0/0\", interface = \"inside\" }]";
        /// Whole network interfaces that move between nodes of one zone, with all that is at them.
        interface: Many<CloudInterface> = Default("[]"),
            "[{ id = \"eni-0123\", interface = \"partner\", device_index = 2 }]";
    }
}

section! {
    /// Private addresses and prefixes that move to the active node's network interface, in one call. Elastic and
    /// carrier IP addresses that are associated with them go along.
    "cloud.address" CloudAddress {
        /// The interface; its network interface is found by the MAC address.
        interface: Name = Required, "\"outside\"";
        /// Addresses: VIPs, floating addresses, addresses of SNAT pools. Each moves with its group.
        private: OneOrMany<IpAddr> = Optional("none"), "[\"10.0.1.10\", \"2001:db8::10\"]";
        /// Prefixes of IPv4, /28, with VIPs in them.
        prefix: OneOrMany<Prefix> = Optional("none"), "[\"10.0.1.32/28\"]";
    }
}

section! {
    /// An Elastic or carrier IP address that moves to a private address of the active node.
    "cloud.elastic_ip" ElasticIp {
        /// Its allocation.
        allocation: AllocationId = Optional("none; `public` or `tag` is given"), "\"eipalloc-01234567\"";
        /// The address itself.
        public: IpAddr = Optional("none; `allocation` or `tag` is given"), "\"203.0.113.7\"";
        /// A tag that it alone has: key=value.
        tag: Tag = Optional("none; `allocation` or `public` is given"), "\"forwarder=web\"";
        /// The interface that has the private address.
        interface: Name = Required, "\"outside\"";
        /// The private address: a VIP.
        private: PerNode<IpAddr> = Required, "{ lb1 = \"10.0.1.10\", lb2 = \"10.0.2.10\" }";
    }
}

section! {
    /// Routes that lead to the network interface of the active node. They must be there already.
    "cloud.route" CloudRoute {
        /// Route tables.
        table: OneOrMany<RouteTableId> = Optional("those with the `tag`"), "[\"rtb-01234567\"]";
        /// A tag that the tables have: key=value.
        tag: Tag = Optional("none; `table` is given"), "\"forwarder=web\"";
        /// Their destinations.
        destination: OneOrMany<Prefix> = Required, "[\"0.0.0.0/0\", \"::/0\"]";
        /// The interface.
        interface: Name = Required, "\"inside\"";
        /// The group of virtual servers that they move with.
        group: Name = Optional("`default`"), "\"mail\"";
    }
}

section! {
    /// A network interface that is detached from the other node and attached to the active one. At the standby it
    /// is not there, and nothing is wrong with that. Addresses move in a fraction of the time.
    "cloud.interface" CloudInterface {
        /// The network interface.
        id: NetworkInterfaceId = Optional("none; `tag` is given"), "\"eni-01234567\"";
        /// A tag that it alone has: key=value.
        tag: Tag = Optional("none; `id` is given"), "\"forwarder=partner\"";
        /// The interface that it is; its device has one name at both nodes, or one for each.
        interface: Name = Required, "\"partner\"";
        /// Its place at the instance, which is free at the standby. 0 is the instance's first, which stays.
        device_index: PerNode<Number<1, 31>> = Required, "2";
        /// The group of virtual servers that it moves with.
        group: Name = Optional("`default`"), "\"mail\"";
    }
}

section! {
    /// Metrics over TCP, for Prometheus; the admin socket gives them too.
    "metrics" Metrics {
        /// Where `GET /metrics` is answered, by whoever asks.
        listen: PerNode<SocketAddr> = Optional("on the admin socket alone"), "\"127.0.0.1:9477\"";
    }
}
