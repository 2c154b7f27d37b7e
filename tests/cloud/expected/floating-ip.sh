#!/bin/sh
# What backends need, from examples/floating-ip-two-front-ends-one-port.toml.
# Run it on a backend as root, at every boot; on other hosts, and where all is set, it changes nothing.
# `forwarder doctor --backend` with that file checks it.
set -e
device_of() { for address; do ip -oneline address show to "$address"; done | awk 'NR == 1 { print $2 }'; }
mtu_of() { ip -oneline link show dev "$1" | sed 's/.* mtu \([0-9]*\) .*/\1/'; }

# 10.1.0.11: vm1 of virtual-machines
# 10.1.0.12: vm2 of virtual-machines
DEVICE=$(device_of 10.1.0.11 10.1.0.12)
if [ -n "$DEVICE" ]; then
    # ARP for a VIP is the forwarder's to answer, not this host's
    sysctl -q -w net.ipv4.conf.all.arp_ignore=1
    # This host's own ARP requests do not come from a VIP
    sysctl -q -w net.ipv4.conf.all.arp_announce=2
    # 203.0.113.10 on loopback as /32: with a shorter prefix the whole network would be local
    ip -oneline address show dev lo to 203.0.113.10 | awk '$4 != "203.0.113.10/32" { print $4 }' | while read -r wrong; do ip address delete "$wrong" dev lo; done
    ip address replace 203.0.113.10/32 dev lo
    # 203.0.113.20 on loopback as /32: with a shorter prefix the whole network would be local
    ip -oneline address show dev lo to 203.0.113.20 | awk '$4 != "203.0.113.20/32" { print $4 }' | while read -r wrong; do ip address delete "$wrong" dev lo; done
    ip address replace 203.0.113.20/32 dev lo
    # Clients' packets are not refused where the route back is another interface's
    sysctl -q -w "net/ipv4/conf/$DEVICE/rp_filter=2"
    # Something answers at tcp 203.0.113.10:80 (not done here)
    # Something answers at tcp 203.0.113.20:80 (not done here)
    # If this host has a firewall, it must let in:
    #   front-end-1:  ufw allow proto tcp to 203.0.113.10 port 80  or  nft insert rule inet filter input ip daddr 203.0.113.10 tcp dport 80 accept
    #   front-end-2:  ufw allow proto tcp to 203.0.113.20 port 80  or  nft insert rule inet filter input ip daddr 203.0.113.20 tcp dport 80 accept
    #   front-end-2-rest:  ufw allow proto tcp to 203.0.113.20  or  nft insert rule inet filter input ip daddr 203.0.113.20 meta l4proto tcp accept
fi
