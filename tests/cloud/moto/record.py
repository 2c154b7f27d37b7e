#!/usr/bin/env python3
"""Records what moto answers to the forwarder's requests, as test data.

    python3 -m venv venv && venv/bin/pip install 'moto[ec2,server]==5.2.5'
    venv/bin/moto_server -p 5999 &
    python3 record.py http://127.0.0.1:5999 > recorded.json

The requests are written here as the forwarder makes them; the test compares them with what it really sends.
"""

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree

SERVER = sys.argv[1]
REGION = "eu-central-1"
AUTHORIZATION = (
    f"AWS4-HMAC-SHA256 Credential=key/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0"
)


def escaped(text):
    return urllib.parse.quote(text, safe="-._~")


def ask(action, *parameters):
    """Asks with the parameters in this order: body, status and answer."""
    head = [("Action", action), ("Version", "2016-11-15")]
    body = "&".join(f"{escaped(name)}={escaped(value)}" for name, value in head + list(parameters))
    request = urllib.request.Request(SERVER + "/", body.encode(), {
        "Authorization": AUTHORIZATION,
        "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
    })
    try:
        with urllib.request.urlopen(request) as answer:
            return body, answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return body, error.code, error.read().decode()


def make(what, action, *parameters):
    """Makes a thing: the text of an element of the answer."""
    _, status, answer = ask(action, *parameters)
    assert status == 200, answer
    for element in ElementTree.fromstring(answer).iter():
        if element.tag.split("}")[-1] == what:
            return element.text
    raise AssertionError(answer)


def described(eni):
    _, _, answer = ask("DescribeNetworkInterfaces", ("Filter.1.Name", "network-interface-id"), ("Filter.1.Value.1", eni))
    return answer


vpc = make("vpcId", "CreateVpc", ("CidrBlock", "10.0.0.0/16"), ("AmazonProvidedIpv6CidrBlock", "true"))
subnet = make("subnetId", "CreateSubnet", ("VpcId", vpc), ("CidrBlock", "10.0.1.0/24"))
enis = [make("networkInterfaceId", "CreateNetworkInterface", ("SubnetId", subnet)) for _ in range(2)]
table = make("routeTableId", "CreateRouteTable", ("VpcId", vpc), ("TagSpecification.1.ResourceType", "route-table"),
             ("TagSpecification.1.Tag.1.Key", "use"), ("TagSpecification.1.Tag.1.Value", "web"))
ask("CreateRoute", ("RouteTableId", table), ("DestinationCidrBlock", "0.0.0.0/0"), ("NetworkInterfaceId", enis[1]))
allocation = make("allocationId", "AllocateAddress", ("Domain", "vpc"))
public = make("publicIp", "DescribeAddresses", ("AllocationId.1", allocation))

instances = [make("instanceId", "RunInstances", ("ImageId", "ami-12c6146b"), ("MinCount", "1"), ("MaxCount", "1"),
                  ("SubnetId", subnet)) for _ in range(2)]
card = make("networkInterfaceId", "CreateNetworkInterface", ("SubnetId", subnet),
            ("TagSpecification.1.ResourceType", "network-interface"), ("TagSpecification.1.Tag.1.Key", "use"),
            ("TagSpecification.1.Tag.1.Value", "partner"))
attachment = make("attachmentId", "AttachNetworkInterface", ("NetworkInterfaceId", card), ("InstanceId", instances[1]),
                  ("DeviceIndex", "2"))

here = ("NetworkInterfaceId", enis[0])
dry = ("DryRun", "true")
calls = {
    "assign": ("AssignPrivateIpAddresses", here, ("AllowReassignment", "true"), ("PrivateIpAddress.1", "10.0.1.10"),
               ("PrivateIpAddress.2", "10.0.1.11")),
    "prefix": ("AssignPrivateIpAddresses", here, ("AllowReassignment", "true"), ("Ipv4Prefix.1", "10.0.1.32/28")),
    "ipv6": ("AssignIpv6Addresses", here, ("Ipv6Addresses.1", "2001:db8::10")),
    "associate": ("AssociateAddress", ("AllocationId", allocation), here, ("PrivateIpAddress", "10.0.1.10"),
                  ("AllowReassociation", "true")),
    "route": ("ReplaceRoute", ("RouteTableId", table), ("DestinationCidrBlock", "0.0.0.0/0"), here),
    "detach": ("DetachNetworkInterface", ("AttachmentId", attachment), ("Force", "true")),
    "detach-again": ("DetachNetworkInterface", ("AttachmentId", attachment), ("Force", "false")),
    "attach": ("AttachNetworkInterface", ("NetworkInterfaceId", card), ("InstanceId", instances[0]), ("DeviceIndex", "2")),
    "no-route": ("ReplaceRoute", ("RouteTableId", table), ("DestinationCidrBlock", "198.18.0.0/15"), here),
    "no-interface": ("AssignPrivateIpAddresses", ("NetworkInterfaceId", "eni-0123"), ("AllowReassignment", "true"),
                     ("PrivateIpAddress.1", "10.0.1.10")),
}
looks = {
    "interfaces": ("DescribeNetworkInterfaces", ("Filter.1.Name", "network-interface-id"), ("Filter.1.Value.1", enis[0])),
    "card": ("DescribeNetworkInterfaces", ("Filter.1.Name", "tag:use"), ("Filter.1.Value.1", "partner")),
    "addresses": ("DescribeAddresses", ("Filter.1.Name", "public-ip"), ("Filter.1.Value.1", public)),
    "routes": ("DescribeRouteTables", ("Filter.1.Name", "tag:use"), ("Filter.1.Value.1", "web")),
    "elsewhere": ("DescribeNetworkInterfaces", ("Filter.1.Name", "addresses.private-ip-address"),
                  ("Filter.1.Value.1", "10.0.1.99"), ("Filter.2.Name", "vpc-id"), ("Filter.2.Value.1", vpc)),
    "elsewhere-ipv6": ("DescribeNetworkInterfaces", ("Filter.1.Name", "ipv6-addresses.ipv6-address"),
                       ("Filter.1.Value.1", "2001:db8::99"), ("Filter.2.Name", "vpc-id"), ("Filter.2.Value.1", vpc)),
}
exchanges = {}
for name in ("associate", "assign"):
    exchanges[f"{name}-dry"] = ask(*calls[name], dry)
for name, call in {**calls, **looks}.items():
    exchanges[name] = ask(*call)
json.dump({
    "peer": "moto 5.2.5",
    "ids": {"vpc": vpc, "here": enis[0], "there": enis[1], "table": table, "allocation": allocation, "public": public,
            "instance": instances[0], "peer": instances[1], "card": card, "attachment": attachment},
    "exchanges": [
        {"name": name, "request": request, "status": status, "answer": answer}
        for name, (request, status, answer) in exchanges.items()
    ],
}, sys.stdout, indent=1)
print()
