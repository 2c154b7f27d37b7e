# What Windows backends need, from examples/floating-ip-two-front-ends-one-port.toml.
# Run it on a backend as administrator; running it again changes nothing.
$ErrorActionPreference = 'Stop'
function Get-Nic($addresses) {
    (Get-NetIPAddress | Where-Object { $addresses -contains $_.IPAddress } | Select-Object -First 1).InterfaceAlias
}
function Set-Vip($address, $length) {
    $loopback = 'Loopback Pseudo-Interface 1'
    Get-NetIPAddress -IPAddress $address -ErrorAction SilentlyContinue |
        Where-Object { $_.InterfaceAlias -ne $loopback -or $_.PrefixLength -ne $length } |
        Remove-NetIPAddress -Confirm:$false
    if (-not (Get-NetIPAddress -IPAddress $address -ErrorAction SilentlyContinue)) {
        New-NetIPAddress -InterfaceAlias $loopback -IPAddress $address -PrefixLength $length -SkipAsSource $true | Out-Null
    }
}
function Set-WeakHost($nic, $family) {
    Set-NetIPInterface -InterfaceAlias $nic -AddressFamily $family -WeakHostReceive Enabled
    Set-NetIPInterface -InterfaceAlias 'Loopback Pseudo-Interface 1' -AddressFamily $family -WeakHostReceive Enabled -WeakHostSend Enabled
}
function Set-Rule($name, $protocol, $address, $port) {
    Remove-NetFirewallRule -DisplayName $name -ErrorAction SilentlyContinue
    New-NetFirewallRule -DisplayName $name -Direction Inbound -Action Allow -Protocol $protocol -LocalAddress $address -LocalPort $port | Out-Null
}

# 10.1.0.11: vm1 of virtual-machines
$nic = Get-Nic @('10.1.0.11')
if ($nic) {
    Set-WeakHost $nic IPv4
    Set-Vip '203.0.113.10' 32
    Set-Vip '203.0.113.20' 32
    Set-Rule 'forwarder front-end-1' TCP '203.0.113.10' 80
    Set-Rule 'forwarder front-end-2' TCP '203.0.113.20' 80
    Set-Rule 'forwarder front-end-2-rest' TCP '203.0.113.20' Any
}

# 10.1.0.12: vm2 of virtual-machines
$nic = Get-Nic @('10.1.0.12')
if ($nic) {
    Set-WeakHost $nic IPv4
    Set-Vip '203.0.113.10' 32
    Set-Vip '203.0.113.20' 32
    Set-Rule 'forwarder front-end-1' TCP '203.0.113.10' 80
    Set-Rule 'forwarder front-end-2' TCP '203.0.113.20' 80
    Set-Rule 'forwarder front-end-2-rest' TCP '203.0.113.20' Any
}
