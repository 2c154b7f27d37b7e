//! Why something has no place here.

/// The reason for a property of this name.
pub fn why(key: &str) -> &'static str {
    match key {
        "iRules"
        | "policyEndpoint"
        | "policyWAF"
        | "policyIAM"
        | "profileHTTP"
        | "profileHTTP2"
        | "profileMultiplex"
        | "profileHTTPCompression"
        | "profileHTTPAcceleration"
        | "profileRewrite"
        | "htmlProfile"
        | "profileAnalytics"
        | "profileBotDefense"
        | "profileAccess"
        | "fallbackPersistenceMethod" => "packets are forwarded, what they carry is not looked at",
        "serverTLS" | "clientTLS" | "profileSSL" => "TLS ends at the backends",
        "profileTCP" | "profileUDP" | "profileL4" => {
            "connections are not ended here, so their settings are the hosts'"
        }
        "profileDNS" | "profileFTP" | "profileSIP" | "profileRADIUS" | "profileTFTP" => {
            "one protocol's own rules are not known here"
        }
        "connectionLimit" | "maxConnections" => {
            "flows are not limited in number; new_flows_per_second limits how fast they come"
        }
        "maximumBandwidth" | "maximumBandwidthPolicy" | "policyBandwidthControl" | "rateLimit" => {
            "bandwidth and rates are not shaped"
        }
        "mirroring" => "flows are synchronised by the pair, not by virtual server",
        "allowVlans" | "rejectVlans" => {
            "interfaces are not in the declaration: name them in `interfaces`"
        }
        "priorityGroup" | "minimumMembersActive" => {
            "there are no groups of backends that wait: all of them get flows"
        }
        "loadBalancingMode" => "new flows are spread by a hash, in proportion to weights",
        "slowRampTime" => "it is not a number of seconds",
        "serviceDownAction" | "serviceDownImmediateAction" | "reselectTries" => {
            "flows of a backend that is down move to another"
        }
        "tcpHandshakeTimeout" | "tcpCloseTimeout" | "keepAliveInterval" | "clientTimeout" => {
            "time-outs of flows are fixed"
        }
        "looseInitialization" | "looseClose" => "the pair takes flows over by itself",
        "synCookieEnable" | "synCookieAllowlist" => {
            "half-open flows have a table of their own, and can't push out others"
        }
        "duration"
        | "addressMask"
        | "overrideConnectionLimit"
        | "matchAcrossPools"
        | "matchAcrossVirtualAddresses"
        | "matchAcrossVirtualPorts"
        | "hashAlgorithm"
        | "mirror" => {
            "the backend follows from the source address by a hash, without a table of who went where"
        }
        "policyFirewallEnforced"
        | "policyFirewallStaged"
        | "policyNAT"
        | "ipIntelligencePolicy"
        | "profileDOS"
        | "profileProtocolInspection" => {
            "a firewall's rules are not taken over; sources can be listed in `allow` and `deny`"
        }
        "clonePools" | "ingressClonePool" | "egressClonePool" => "packets are not copied",
        "lastHop" => "replies leave by the interface that the flow came in by",
        "profileTrafficLog" | "securityLogProfiles" => "flows are not logged one by one",
        "routeAdvertisement" | "spanningEnabled" => "routes are not announced",
        "arpEnabled" | "icmpEcho" => "VIPs are always answered for",
        "trafficGroup" => {
            "every VIP belongs to the active node, or to a group of the pair: `group`"
        }
        "defaultRouteDomain" | "routeDomain" => "there are no route domains",
        "timeUntilUp" => "a backend is up after `rise` good checks",
        "adaptive"
        | "adaptiveLimitMilliseconds"
        | "adaptiveWindow"
        | "adaptiveDivergenceMilliseconds"
        | "adaptiveDivergencePercentage"
        | "adaptiveDivergenceType" => "a check has a fixed time",
        "ciphers" | "clientCertificate" | "username" | "passphrase" => "checks do not log in",
        "dscp" | "transparent" | "reverse" | "targetAddress" | "upInterval" | "receiveDown" => {
            "checks do not do that"
        }
        "minimumMonitors" => "a pool has one health check",
        "translateClientPort" => "the source port is chosen here",
        "nat64Enabled" => "NAT does not change the family",
        "externalStorage" => "the nodes tell each other; nothing is stored outside",
        "schemaVersion" => "it is this program's",
        _ => "there is nothing like it here",
    }
}
