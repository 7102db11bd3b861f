//! Which addresses may be connected to: pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Services by which clouds hand out credentials and secrets, outside of the link-local range.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Addresses with a common prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Net {
    address: IpAddr,
    bits: u8,
}

impl Net {
    /// `10.1.0.0/16`, `fe80::1` or `169.254.10.1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => u64::from(a.to_bits() ^ b.to_bits()) >> (32 - u32::from(self.bits)) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).checked_shr(128 - u32::from(self.bits)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What the operator allows beyond the rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowance {
    /// The host is written as this address.
    pub(super) literal: Option<IpAddr>,
    /// The host names this machine.
    pub(super) loopback: bool,
    /// The list `allow`.
    pub(super) nets: Vec<Net>,
}

/// Why this address must not be connected to; `None` where it may.
pub(super) fn fault(address: IpAddr, allowance: &Allowance) -> Option<&'static str> {
    if allowance.literal == Some(address) || allowance.nets.iter().any(|net| net.contains(address)) {
        return None;
    }
    match address {
        _ if METADATA.contains(&address) => Some("a metadata service"),
        IpAddr::V4(v4) => fault_v4(v4, allowance.loopback),
        IpAddr::V6(v6) => fault_v6(v6, allowance.loopback),
    }
}

fn fault_v4(v4: Ipv4Addr, loopback: bool) -> Option<&'static str> {
    let first = v4.octets()[0];
    if v4.is_loopback() {
        (!loopback).then_some("this machine itself, by a name that does not say so")
    } else if v4.is_link_local() {
        Some("link-local, where metadata services are")
    } else if first == 0 {
        Some("unspecified")
    } else if v4.is_multicast() {
        Some("multicast")
    } else if first >= 240 {
        Some("broadcast or reserved")
    } else {
        None
    }
}

fn fault_v6(v6: Ipv6Addr, loopback: bool) -> Option<&'static str> {
    if v6.is_loopback() {
        return (!loopback).then_some("this machine itself, by a name that does not say so");
    }
    if v6.is_unspecified() {
        return Some("unspecified");
    }
    if v6.is_multicast() {
        return Some("multicast");
    }
    if v6.is_unicast_link_local() {
        return Some("link-local");
    }
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some("an IPv4 address in the guise of IPv6"),
        // fec0::/10, the withdrawn site-local addresses.
        [first, ..] if first & 0xffc0 == 0xfec0 => Some("site-local"),
        // NAT64 (RFC 6052) and 6to4 (RFC 3056) lead to the IPv4 address that they hold.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // NAT64 for local use (RFC 8215) and Teredo (RFC 4380): where they lead cannot be told.
        [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..] => Some("a tunnel"),
        _ => None,
    }
}

fn embedded(high: u16, low: u16) -> Option<&'static str> {
    let v4 = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let refused = METADATA.contains(&IpAddr::V4(v4)) || fault_v4(v4, false).is_some();
    refused.then_some("a tunnel to an IPv4 address that is refused itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_no_participant_is_at_is_refused() {
        for text in [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "224.0.0.1",
            "239.255.255.255",
            "ff02::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "255.255.255.255",
            "240.0.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "2002:a9fe:a9fe::1",
            "2002:7f00:1::",
            "2001::1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
        ] {
            assert!(fault(ip(text), &Allowance::default()).is_some(), "{text}");
        }
    }

    #[test]
    fn where_participants_are_is_allowed() {
        for text in [
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "93.184.216.34",
            "100.64.0.1",
            "fd12:3456::1",
            "2606:4700::1111",
            "64:ff9b::5db8:d822",
            "2002:5db8:d822::1",
            "223.255.255.255",
            "1.0.0.0",
        ] {
            assert_eq!(fault(ip(text), &Allowance::default()), None, "{text}");
        }
    }

    #[test]
    fn the_operator_may_allow_what_is_refused() {
        let loopback = Allowance { loopback: true, ..Allowance::default() };
        assert_eq!(fault(ip("127.0.0.1"), &loopback), None);
        assert_eq!(fault(ip("::1"), &loopback), None);
        assert!(fault(ip("::ffff:127.0.0.1"), &loopback).is_some());
        assert!(fault(ip("64:ff9b::7f00:1"), &loopback).is_some());
        let literal = Allowance { literal: Some(ip("169.254.10.1")), ..Allowance::default() };
        assert_eq!(fault(ip("169.254.10.1"), &literal), None);
        assert!(fault(ip("169.254.10.2"), &literal).is_some());
        let nets = Allowance { nets: vec![Net::parse("169.254.8.0/21").unwrap()], ..Allowance::default() };
        assert_eq!(fault(ip("169.254.15.255"), &nets), None);
        assert!(fault(ip("169.254.16.0"), &nets).is_some());
    }

    #[test]
    fn networks_have_an_address_and_a_length() {
        let contains = |net: &str, address: &str| Net::parse(net).unwrap().contains(ip(address));
        assert!(contains("10.0.0.0/8", "10.255.1.2") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "fe80::1") && contains("fe80::/10", "febf::1") && !contains("fe80::/10", "fec0::1"));
        assert!(contains("fe80::1", "fe80::1") && !contains("fe80::1", "fe80::2"));
        for text in ["", "host", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0/8"] {
            assert_eq!(Net::parse(text), None, "{text}");
        }
    }
}
