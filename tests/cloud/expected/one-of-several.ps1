# What Windows backends need, from examples/several-virtual-servers-two-interfaces.toml.
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

# 10.0.2.41: 10.0.2.41 of syslog
$nic = Get-Nic @('10.0.2.41')
if ($nic) {
    Set-Rule 'forwarder syslog' UDP '10.0.2.41' 514
    # Replies of dnat go back through the forwarder (10.0.2.11): Set-NetRoute or New-NetRoute, by hand.
}
