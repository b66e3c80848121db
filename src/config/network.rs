//! Addresses and networks, as lists of access name them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// The address in the shape of IPv6, its host bits zero.
    bits: u128,
    /// Leading bits that must agree, of 128.
    length: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `192.0.2.7`, `2001:db8::/32`.
    ///
    /// # Errors
    /// Says how to mend it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let form = || "write an address or a network, such as `10.0.0.0/8` or `2001:db8::/32`".to_owned();
        let (host, length) = text.split_once('/').map_or((text, None), |(host, length)| (host, Some(length)));
        let address: IpAddr = host.parse().map_err(|_| form())?;
        let (width, offset) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = match length {
            None => width,
            Some(text) => text.parse::<u8>().ok().filter(|length| *length <= width).ok_or_else(form)?,
        };
        let (bits, length) = (bits(address), length + offset);
        let network = bits & mask(length);
        if network == bits {
            return Ok(Self { bits, length });
        }
        let base = shown(network);
        Err(format!("bits behind the network's length are set: write `{base}/{}`", length - offset))
    }

    /// True if `address` is in it. IPv4 addresses in IPv6 clothes are IPv4 addresses.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & mask(self.length) == self.bits
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = shown(self.bits);
        let offset = if address.is_ipv4() && self.length >= 96 { 96 } else { 0 };
        write!(f, "{address}/{}", self.length - offset)
    }
}

/// The address that a proxy wrote: alone, in brackets, or with a port.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))?;
    Some(shown(bits(address)))
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

fn shown(bits: u128) -> IpAddr {
    let address = Ipv6Addr::from_bits(bits);
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), |address: Ipv4Addr| IpAddr::V4(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Access;

    #[test]
    fn networks_hold_what_they_say() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.1.1", "::a00:1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
            ("192.0.2.128/25", "192.0.2.129", "192.0.2.127"),
        ] {
            let parsed = Network::parse(network).unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} holds {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} does not hold {outside}");
        }
        assert_eq!(Network::parse("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(Network::parse("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_way_to_mend_it() {
        for (text, hint) in [
            ("10.0.0.1/8", "write `10.0.0.0/8`"),
            ("10.0.0.0/33", "write an address"),
            ("2001:db8::/129", "write an address"),
            ("example.com", "write an address"),
            ("10.0.0.0/", "write an address"),
            ("/8", "write an address"),
        ] {
            let error = Network::parse(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn only_trusted_proxies_say_who_calls() {
        let networks = |texts: &[&str]| texts.iter().map(|text| Network::parse(text).unwrap()).collect();
        let access = Access { trusted_proxies: networks(&["10.0.0.0/8", "::1"]), ..Access::default() };
        for (peer, forwarded, client) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // What a client wrote itself stands before what the proxy added.
            ("10.0.0.1", &["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.1", "203.0.113.9, 10.0.0.2"], "203.0.113.9"),
            ("10.0.0.1", &["203.0.113.9, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9:4711"], "203.0.113.9"),
            ("::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
        ] {
            let found = access.client(peer.parse().unwrap(), forwarded.iter().copied());
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
