#!/bin/sh
# What backends need, from examples/tunnels-over-ipv6.toml.
# Run it on a backend as root, at every boot; on other hosts, and where all is set, it changes nothing.
# `forwarder doctor --backend` with that file checks it.
set -e
device_of() { for address; do ip -oneline address show to "$address"; done | awk 'NR == 1 { print $2 }'; }
mtu_of() { ip -oneline link show dev "$1" | sed 's/.* mtu \([0-9]*\) .*/\1/'; }

# 2001:db8:0:11::21: rack1 of web
# 2001:db8:0:12::21: rack2 of web
DEVICE=$(device_of 2001:db8:0:11::21 2001:db8:0:12::21)
if [ -n "$DEVICE" ]; then
    MTU=$(mtu_of "$DEVICE")
    # ARP for a VIP is the forwarder's to answer, not this host's
    sysctl -q -w net.ipv4.conf.all.arp_ignore=1
    # This host's own ARP requests do not come from a VIP
    sysctl -q -w net.ipv4.conf.all.arp_announce=2
    # 203.0.113.10 on loopback as /32: with a shorter prefix the whole network would be local
    ip -oneline address show dev lo to 203.0.113.10 | awk '$4 != "203.0.113.10/32" { print $4 }' | while read -r wrong; do ip address delete "$wrong" dev lo; done
    ip address replace 203.0.113.10/32 dev lo
    # 2001:db8:f::10 on loopback as /128: with a shorter prefix the whole network would be local
    ip -oneline address show dev lo to 2001:db8:f::10 | awk '$4 != "2001:db8:f::10/128" { print $4 }' | while read -r wrong; do ip address delete "$wrong" dev lo; done
    ip address replace 2001:db8:f::10/128 dev lo nodad
    # 2001:db8:f::20 on loopback as /128: with a shorter prefix the whole network would be local
    ip -oneline address show dev lo to 2001:db8:f::20 | awk '$4 != "2001:db8:f::20/128" { print $4 }' | while read -r wrong; do ip address delete "$wrong" dev lo; done
    ip address replace 2001:db8:f::20/128 dev lo nodad
    # The kernel takes GUE at UDP port 6080
    modprobe fou6
    ip -6 fou show | grep -q 'port 6080 gue' || ip -6 fou add port 6080 gue
    # Packets come out of their tunnels at ip6tnl0
    modprobe ip6_tunnel
    ip -6 tunnel change ip6tnl0 mode any
    ip link set ip6tnl0 up
    # ip6tnl0 has no address, so packets out of tunnels pass no reverse-path filter at all
    sysctl -q -w net.ipv4.conf.all.rp_filter=0
    sysctl -q -w net.ipv4.conf.ip6tnl0.rp_filter=0
    # Clients send segments that fit into the tunnel (IPv4)
    ip -4 route show default | grep -v 'proto ra' | sed 's/ advmss [0-9]*//; s/ linkdown//' | while read -r route; do ip -4 route change $route advmss $((MTU - 80)); done
    # Clients send segments that fit into the tunnel (IPv6)
    ip -6 route show default | grep -v 'proto ra' | sed 's/ advmss [0-9]*//; s/ linkdown//' | while read -r route; do ip -6 route change $route advmss 1180; done
    # Something answers at tcp [2001:db8:f::10]:443 (not done here)
    # Something answers at tcp 203.0.113.10:443 (not done here)
    # Something answers at udp [2001:db8:f::10]:443 (not done here)
    # Something answers at tcp [2001:db8:f::20]:443 (not done here)
    # If this host has a firewall, it must let in:
    #   IP protocols 4 and 41 from the forwarders
    #   UDP 6080 from the forwarders:  ufw allow 6080/udp
    #   web6:  ufw allow proto tcp to 2001:db8:f::10 port 443  or  nft insert rule inet filter input ip6 daddr 2001:db8:f::10 tcp dport 443 accept
    #   web4:  ufw allow proto tcp to 203.0.113.10 port 443  or  nft insert rule inet filter input ip daddr 203.0.113.10 tcp dport 443 accept
    #   web6-quic:  ufw allow proto udp to 2001:db8:f::10 port 443  or  nft insert rule inet filter input ip6 daddr 2001:db8:f::10 udp dport 443 accept
    #   web6-mobile:  ufw allow proto tcp to 2001:db8:f::20 port 443  or  nft insert rule inet filter input ip6 daddr 2001:db8:f::20 tcp dport 443 accept
fi
