#!/bin/sh
# What backends need, from examples/several-virtual-servers-two-interfaces.toml.
# Run it on a backend as root, at every boot; on other hosts, and where all is set, it changes nothing.
# `forwarder doctor --backend` with that file checks it.
set -e
device_of() { for address; do ip -oneline address show to "$address"; done | awk 'NR == 1 { print $2 }'; }
mtu_of() { ip -oneline link show dev "$1" | sed 's/.* mtu \([0-9]*\) .*/\1/'; }

# 10.0.2.41: 10.0.2.41 of syslog
DEVICE=$(device_of 10.0.2.41)
if [ -n "$DEVICE" ]; then
    # Replies of dnat go back through the forwarder: the default route leads to 10.0.2.11 (not done here)
    # Something answers at udp 10.0.2.41:514 (not done here)
    # If this host has a firewall, it must let in:
    #   syslog:  ufw allow proto udp to any port 514  or  nft insert rule inet filter input udp dport 514 accept
    :
fi
