//! IP addresses to which no webhook may be sent.
//!
//! Tenants choose the addresses that the platform connects to. Without this list, the platform would be a way into
//! the network it runs in (server-side request forgery): cloud metadata services, databases, admin pages. Only
//! public unicast addresses are allowed; private, special and unallocated ranges are blocked.
//!
//! IPv6 has several forms that embed an IPv4 address. The embedded address is extracted and checked, since a
//! router or the kernel may extract it as well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Returns the name of the range that blocks this address; `None` if a webhook may be sent to it.
#[must_use]
pub fn blocked(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => blocked_v4(address),
        IpAddr::V6(address) => blocked_v6(address),
    }
}

const fn v4(a: u8, b: u8, c: u8, prefix_length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix_length)
}

const fn v6(a: u16, b: u16, c: u16, prefix_length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix_length)
}

const BLOCKED_V4: [(Ipv4Net, &str); 14] = [
    (v4(0, 0, 0, 8), "this network, 0.0.0.0/8"),
    (v4(10, 0, 0, 8), "private network, 10.0.0.0/8"),
    (v4(100, 64, 0, 10), "carrier-grade NAT, 100.64.0.0/10"),
    (v4(127, 0, 0, 8), "loopback, 127.0.0.0/8"),
    (v4(169, 254, 0, 16), "link-local, 169.254.0.0/16"),
    (v4(172, 16, 0, 12), "private network, 172.16.0.0/12"),
    (v4(192, 0, 0, 24), "protocol assignments, 192.0.0.0/24"),
    (v4(192, 0, 2, 24), "documentation, 192.0.2.0/24"),
    (v4(192, 168, 0, 16), "private network, 192.168.0.0/16"),
    (v4(198, 18, 0, 15), "benchmarking, 198.18.0.0/15"),
    (v4(198, 51, 100, 24), "documentation, 198.51.100.0/24"),
    (v4(203, 0, 113, 24), "documentation, 203.0.113.0/24"),
    (v4(224, 0, 0, 4), "multicast, 224.0.0.0/4"),
    (v4(240, 0, 0, 4), "reserved, 240.0.0.0/4"),
];

const BLOCKED_V6: [(Ipv6Net, &str); 10] = [
    // The network's operator chooses where a local-use NAT64 address embeds the IPv4 address, so it cannot be
    // extracted. The range belongs to the operator's own network in any case.
    (v6(0x64, 0xff9b, 1, 48), "local-use NAT64, 64:ff9b:1::/48"),
    // A Teredo address consists of a relay and an obfuscated client; no webhook receiver uses one.
    (v6(0x2001, 0, 0, 32), "Teredo, 2001::/32"),
    (v6(0x2001, 2, 0, 48), "benchmarking, 2001:2::/48"),
    (v6(0x2001, 0x10, 0, 28), "ORCHID, 2001:10::/28"),
    (v6(0x2001, 0xdb8, 0, 32), "documentation, 2001:db8::/32"),
    (v6(0x3fff, 0, 0, 20), "documentation, 3fff::/20"),
    (v6(0xfc00, 0, 0, 7), "unique local, fc00::/7"),
    (v6(0xfe80, 0, 0, 10), "link-local, fe80::/10"),
    (v6(0xfec0, 0, 0, 10), "site-local, fec0::/10"),
    (v6(0xff00, 0, 0, 8), "multicast, ff00::/8"),
];

/// The only range of IPv6 from which public addresses are allocated.
const GLOBAL_UNICAST: Ipv6Net = v6(0x2000, 0, 0, 3);

fn blocked_v4(address: Ipv4Addr) -> Option<&'static str> {
    BLOCKED_V4.iter().find(|(range, _)| range.contains(&address)).map(|&(_, name)| name)
}

fn blocked_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address == Ipv6Addr::UNSPECIFIED {
        return Some("unspecified, ::");
    }
    if address == Ipv6Addr::LOCALHOST {
        return Some("loopback, ::1");
    }
    if let Some(inner) = embedded_ipv4(address) {
        return blocked_v4(inner);
    }
    if let Some(&(_, name)) = BLOCKED_V6.iter().find(|(range, _)| range.contains(&address)) {
        return Some(name);
    }
    (!GLOBAL_UNICAST.contains(&address)).then_some("not a public address, outside 2000::/3")
}

/// Returns the IPv4 address that an IPv6 address embeds, or else the address itself.
pub(crate) fn without_embedding(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        // The unspecified and the loopback address look as if they embedded one.
        IpAddr::V6(Ipv6Addr::UNSPECIFIED | Ipv6Addr::LOCALHOST) => address,
        IpAddr::V6(v6) => embedded_ipv4(v6).map_or(address, IpAddr::V4),
    }
}

/// Returns the IPv4 address that an IPv6 address embeds, if any.
fn embedded_ipv4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let tail = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        // IPv4-compatible ::a.b.c.d, IPv4-mapped ::ffff:a.b.c.d, IPv4-translated ::ffff:0:a.b.c.d.
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        // NAT64 64:ff9b::/96.
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        // 6to4 2002::/16 carries the IPv4 address of its gateway right after the prefix.
        | [0x2002, high, low, ..] => Some(tail(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(address: &str) -> Option<&'static str> {
        blocked(address.parse().unwrap())
    }

    type Case = (&'static str, &'static str, &'static str, &'static [(&'static str, bool)]);

    /// Each range with its first and last address, then the adjacent addresses outside it and whether those are
    /// allowed.
    #[rustfmt::skip]
    const RANGES: [Case; 24] = [
        ("0.0.0.0/8", "0.0.0.0", "0.255.255.255", &[("1.0.0.0", true)]),
        ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", &[("9.255.255.255", true), ("11.0.0.0", true)]),
        ("100.64.0.0/10", "100.64.0.0", "100.127.255.255", &[("100.63.255.255", true), ("100.128.0.0", true)]),
        ("127.0.0.0/8", "127.0.0.0", "127.255.255.255", &[("126.255.255.255", true), ("128.0.0.0", true)]),
        ("169.254.0.0/16", "169.254.0.0", "169.254.255.255", &[("169.253.255.255", true), ("169.255.0.0", true)]),
        ("172.16.0.0/12", "172.16.0.0", "172.31.255.255", &[("172.15.255.255", true), ("172.32.0.0", true)]),
        ("192.0.0.0/24", "192.0.0.0", "192.0.0.255", &[("191.255.255.255", true), ("192.0.1.0", true)]),
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", &[("192.0.1.255", true), ("192.0.3.0", true)]),
        ("192.168.0.0/16", "192.168.0.0", "192.168.255.255", &[("192.167.255.255", true), ("192.169.0.0", true)]),
        ("198.18.0.0/15", "198.18.0.0", "198.19.255.255", &[("198.17.255.255", true), ("198.20.0.0", true)]),
        ("198.51.100.0/24", "198.51.100.0", "198.51.100.255", &[("198.51.99.255", true), ("198.51.101.0", true)]),
        ("203.0.113.0/24", "203.0.113.0", "203.0.113.255", &[("203.0.112.255", true), ("203.0.114.0", true)]),
        ("224.0.0.0/4", "224.0.0.0", "239.255.255.255", &[("223.255.255.255", true), ("240.0.0.0", false)]),
        ("240.0.0.0/4", "240.0.0.0", "255.255.255.255", &[("239.255.255.255", false)]),
        ("64:ff9b:1::/48", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            &[("64:ff9b:0:ffff:ffff:ffff:ffff:ffff", false), ("64:ff9b:2::", false)]),
        ("2001::/32", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true), ("2001:1::", true)]),
        ("2001:2::/48", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff",
            &[("2001:1:ffff:ffff:ffff:ffff:ffff:ffff", true), ("2001:2:1::", true)]),
        ("2001:10::/28", "2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("2001:f:ffff:ffff:ffff:ffff:ffff:ffff", true), ("2001:20::", true)]),
        ("2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", true), ("2001:db9::", true)]),
        ("3fff::/20", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true), ("3fff:1000::", true)]),
        ("fc00::/7", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false), ("fe00::", false)]),
        ("fe80::/10", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false), ("fec0::", false)]),
        ("fec0::/10", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false), ("ff00::", false)]),
        ("ff00::/8", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            &[("feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false)]),
    ];

    #[test]
    fn each_range_is_blocked_from_its_first_to_its_last_address_and_no_further() {
        for (range, first, last, neighbours) in RANGES {
            for inside in [first, last] {
                let name = name(inside).unwrap_or_else(|| panic!("{inside} is allowed"));
                assert!(name.ends_with(&format!(", {range}")), "{inside}: {name} instead of {range}");
            }
            for (neighbour, allowed) in neighbours {
                let name = name(neighbour);
                assert_eq!(name.is_none(), *allowed, "{neighbour} next to {range}: {name:?}");
                assert!(!name.is_some_and(|name| name.ends_with(&format!(", {range}"))), "{neighbour}");
            }
        }
    }

    #[test]
    fn every_range_is_in_the_table_of_cases() {
        assert_eq!(RANGES.len(), BLOCKED_V4.len() + BLOCKED_V6.len());
    }

    #[test]
    fn an_ipv4_address_embedded_in_ipv6_is_checked_like_itself() {
        for (inner, hex) in
            [("127.0.0.1", "7f00:1"), ("169.254.169.254", "a9fe:a9fe"), ("10.1.2.3", "a01:203")]
        {
            let expected = name(inner);
            assert!(expected.is_some());
            for dressed in [
                format!("::ffff:{inner}"),
                format!("::{inner}"),
                format!("::ffff:0:{hex}"),
                format!("64:ff9b::{inner}"),
                format!("2002:{hex}::1"),
            ] {
                assert_eq!(name(&dressed), expected, "{dressed}");
            }
        }
        for dressed in
            ["::ffff:8.8.8.8", "::8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1"]
        {
            assert_eq!(name(dressed), None, "{dressed}");
        }
    }

    #[test]
    fn only_global_unicast_is_left_of_ipv6() {
        assert_eq!(name("::"), Some("unspecified, ::"));
        assert_eq!(name("::1"), Some("loopback, ::1"));
        for outside in ["::2", "100::1", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "4000::", "5f00::1"] {
            assert!(name(outside).is_some(), "{outside}");
        }
        for public in ["2606:4700:4700::1111", "2a00:1450:4001:82a::200e", "2000::"] {
            assert_eq!(name(public), None, "{public}");
        }
    }
}
