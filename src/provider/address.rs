//! Addresses of providers: what a URL says, and which hosts are never called.

use super::layout::is_version;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A URL of a provider, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `true` for `https`.
    pub tls: bool,
    /// Host name in lower case, or address literal without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path without a slash at its end and without a `/v1` there; empty for none.
    pub base_path: String,
}

impl Address {
    /// Reads an `http://` or `https://` URL.
    ///
    /// # Errors
    /// Says what is wrong, without quoting the URL: it may hold a credential.
    pub fn parse(url: &str) -> Result<Self, String> {
        if url.contains("://") && !url.starts_with("http://") && !url.starts_with("https://") {
            return Err("write an address that begins with `https://` or `http://`".to_owned());
        }
        let uri: http::Uri = url.parse().map_err(|_| "write an address like `https://api.example.com`".to_owned())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("write an address that begins with `https://` or `http://`".to_owned()),
        };
        let authority = uri.authority().ok_or("the address names no host")?;
        if authority.as_str().contains('@') {
            return Err("remove the user and password from the address; the credential belongs in `key`".to_owned());
        }
        if uri.query().is_some() || url.contains('#') {
            return Err("remove what follows the path: an address has no query and no fragment".to_owned());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() || host.chars().any(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':'))) {
            return Err("the address names no host".to_owned());
        }
        let port = match authority.as_str().strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':')) {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or("the port is no number from 1 to 65535")?,
            None if tls => 443,
            None => 80,
        };
        let base_path = base_path(uri.path())?;
        Ok(Self { tls, host, port, base_path })
    }

    /// How far away the host is, as far as its name tells.
    #[must_use]
    pub fn reach(&self) -> Reach {
        reach(&self.host)
    }
}

/// `host:port`, an IPv6 literal in brackets.
#[must_use]
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// How far away a host is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This machine or a private network: `http` is fine.
    Near,
    /// Anywhere else.
    Public,
    /// Never called: link-local, cloud metadata, multicast, no real host.
    Forbidden,
}

/// Whether no provider may be at `ip`. To be asked of the address that a name resolved to, when connecting: a name
/// that was harmless when the config was read may lead elsewhere later.
#[must_use]
pub fn is_forbidden(ip: IpAddr) -> bool {
    /// Metadata and platform services of Alibaba, Oracle and Azure, which stand outside 169.254.0.0/16.
    const SERVICES: [Ipv4Addr; 3] =
        [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
    /// The metadata services of EC2 and Google over IPv6.
    const SERVICES_V6: [Ipv6Addr; 2] =
        [Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254)];
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let reserved = ip.octets().first() == Some(&0) || ip.is_multicast() || ip.is_broadcast();
            ip.is_link_local() || reserved || SERVICES.contains(&ip)
        }
        IpAddr::V6(ip) => {
            let embedded = embedded_v4(ip).is_some_and(|ip| is_forbidden(IpAddr::V4(ip)));
            ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || SERVICES_V6.contains(&ip)
                || embedded
        }
    }
}

/// The IPv4 address inside a NAT64 or 6to4 address.
fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        _ => None,
    }
}

fn reach(host: &str) -> Reach {
    const NEAR: [&str; 6] = [".localhost", ".local", ".internal", ".lan", ".home.arpa", ".svc"];
    if let Ok(ip) = host.parse::<IpAddr>() {
        return match ip.to_canonical() {
            ip if is_forbidden(ip) => Reach::Forbidden,
            ip if is_near(ip) => Reach::Near,
            _ => Reach::Public,
        };
    }
    let host = host.trim_end_matches('.');
    let last = host.rsplit('.').next().unwrap_or_default();
    // Such a name is an address to some resolvers (`2852039166`, `0xA9FEA9FE`, `127.1`).
    let numeric = last.starts_with(|c: char| c.is_ascii_digit())
        && (last.chars().all(|c| c.is_ascii_digit()) || last.starts_with("0x"));
    if numeric || host.contains(':') || matches!(host, "" | "metadata" | "metadata.google.internal" | "instance-data") {
        return Reach::Forbidden;
    }
    let near = !host.contains('.') || NEAR.iter().any(|suffix| host.ends_with(suffix));
    if near { Reach::Near } else { Reach::Public }
}

fn is_near(ip: IpAddr) -> bool {
    match ip {
        // 100.64.0.0/10 is the carriers' and overlay networks' private range.
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_loopback() || ip.is_private() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local(),
    }
}

/// The path that stands before the format's own.
fn base_path(path: &str) -> Result<String, String> {
    let path = path.trim_end_matches('/');
    // Beside another version it is needed to tell which of them is the format's own.
    let is_one = |rest: &&str| !rest.split('/').any(is_version);
    let path = path.strip_suffix("/v1").filter(is_one).unwrap_or(path);
    let odd = |segment: &str| segment.is_empty() || segment == "." || segment == "..";
    if path.split('/').skip(1).any(odd) || path.contains(['%', '\\']) {
        return Err("write the path plainly: no `//`, `..` or `%`".to_owned());
    }
    for ending in ["/chat/completions", "/messages"] {
        if path.ends_with(ending) {
            return Err(format!("leave out `{ending}`: the format's own path is added"));
        }
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check = |url: &str, expect: &str| {
            let found = match Address::parse(url) {
                Ok(a) => format!("{} {} {} {:?}", a.tls, a.host, a.port, a.base_path),
                Err(fault) => fault,
            };
            assert_eq!(found, expect, "{url}");
        };
        check("https://api.openai.com", "true api.openai.com 443 \"\"");
        check("https://api.openai.com/v1/", "true api.openai.com 443 \"\"");
        check("http://127.0.0.1:8000/v1", "false 127.0.0.1 8000 \"\"");
        check("http://[::1]:8000", "false ::1 8000 \"\"");
        check("https://API.groq.com/openai/v1", "true api.groq.com 443 \"/openai\"");
        check("https://h/v1beta/openai/", "true h 443 \"/v1beta/openai\"");
        check("https://h/api/paas/v4", "true h 443 \"/api/paas/v4\"");
        check("https://h/client/v4/accounts/A/ai/v1", "true h 443 \"/client/v4/accounts/A/ai/v1\"");
        check("http://localhost", "false localhost 80 \"\"");
        check("api.openai.com", "write an address that begins with `https://` or `http://`");
        check("ftp://h", "write an address that begins with `https://` or `http://`");
        check("", "write an address like `https://api.example.com`");
        check("https://u:p@h", "remove the user and password from the address; the credential belongs in `key`");
        check("https://h/?a=b", "remove what follows the path: an address has no query and no fragment");
        check("https://h/a/../b", "write the path plainly: no `//`, `..` or `%`");
        check("https://h:0", "the port is no number from 1 to 65535");
        check("https://h:70000", "the port is no number from 1 to 65535");
        check("https://h/v1/chat/completions", "leave out `/chat/completions`: the format's own path is added");
    }

    #[test]
    fn reach_is_told_by_the_host() {
        let check = |host: &str, expect: Reach| assert_eq!(reach(host), expect, "{host}");
        for near in [
            "localhost",
            "127.0.0.1",
            "127.9.9.9",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "fd12::1",
            "ollama",
            "llm.prod.svc",
            "a.internal",
            "::ffff:10.0.0.1",
        ] {
            check(near, Reach::Near);
        }
        for public in [
            "api.openai.com",
            "8.8.8.8",
            "172.32.0.1",
            "2606:4700::1",
            "100.128.0.1",
            "1password.com",
            "a.svc.example.com",
        ] {
            check(public, Reach::Public);
        }
        for forbidden in [
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "168.63.129.16",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "metadata.google.internal",
            "metadata.google.internal.",
            "2852039166",
            "0xa9fea9fe",
            "169.254.43518",
            "127.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "255.255.255.255",
        ] {
            check(forbidden, Reach::Forbidden);
        }
    }
}
