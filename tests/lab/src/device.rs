//! Offloads of a network device.

use anyhow::{Context as _, Result, ensure};

use crate::namespace::Namespace;

/// Makes a veth end behave like a real card as far as XDP can see: checksums are in the packet, and
/// no packet is larger than the MTU.
pub(crate) fn plain_packets(host: &Namespace, device: &str) -> Result<()> {
    let words = ["tx", "off", "tso", "off", "gso", "off", "rx", "off"];
    let mut command = host.command("ethtool");
    let output = command.args(["-K", device]).args(words).output();
    let output = output.context("`ethtool` does not start: is it installed?")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let at = host.name();
    ensure!(
        output.status.success(),
        "ethtool -K {device} of {at}: {said}"
    );
    Ok(())
}
