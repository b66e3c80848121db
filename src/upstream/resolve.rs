//! Host names to addresses, off the path of requests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::provider::address::is_forbidden;

/// How long a request waits for the addresses that it needs.
const REQUEST_WAITS: Duration = Duration::from_secs(5);
/// How long one lookup may take. The system gives each name server five seconds: where the first or the second is silent, an
/// answer takes longer than any request waits, and is of use to those that follow.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(12);
/// Age at which addresses are looked up again.
pub(super) const REFRESH_MS: u64 = 30_000;
/// For how long a failed lookup answers the requests that follow, so that they do not queue for the next one.
const FAILURE_MS: u64 = 1_000;
/// Addresses kept of one answer.
const ADDRESSES: usize = 64;

/// Why an endpoint has no address to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResolveError {
    /// The name does not resolve.
    #[error("cannot resolve {host}: {reason}; check the provider's url and the DNS of this machine")]
    Failed {
        /// The name.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// The lookup took too long.
    #[error("resolving {host} took longer than {} s; check the DNS of this machine", after.as_secs())]
    TimedOut {
        /// The name.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// The name resolves to addresses that no provider may have.
    #[error(
        "{host} is {address}, which no request is sent to: it is link-local, of a metadata service, or no single host"
    )]
    Forbidden {
        /// The name.
        host: String,
        /// The first of its addresses.
        address: IpAddr,
    },
}

/// Turns a host name into addresses.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of `host` with `port`, best first.
    ///
    /// # Errors
    ///
    /// When the name does not resolve.
    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The system's own resolver.
pub(super) struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.take(ADDRESSES).collect())
    }
}

/// The addresses of one endpoint.
///
/// One address is the current one until a connection to it fails; then the next takes its place. A refresh keeps the
/// current address if it is still among the answers, so that pooled connections stay of use, and a failed refresh keeps
/// all of them.
pub(super) struct Resolver {
    host: String,
    port: u16,
    /// Whether the host is an address itself.
    literal: bool,
    answer: ArcSwap<Answer>,
    /// One lookup at a time.
    looking: Mutex<()>,
    lookup: Arc<dyn Lookup>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Answer {
    addresses: Vec<SocketAddr>,
    current: usize,
    /// When the last lookup ended, whatever came of it.
    at: Option<u64>,
    error: Option<ResolveError>,
}

impl Resolver {
    pub(super) fn new(host: &str, port: u16, lookup: Arc<dyn Lookup>) -> Self {
        let mut answer = Answer::default();
        let literal = host.parse::<IpAddr>().ok();
        if let Some(address) = literal {
            answer = answer.renewed(host, Ok(vec![SocketAddr::new(address, port)]), 0);
        }
        Self {
            host: host.to_owned(),
            port,
            literal: literal.is_some(),
            answer: ArcSwap::from_pointee(answer),
            looking: Mutex::new(()),
            lookup,
        }
    }

    /// The address to connect to, if known.
    pub(super) fn current(&self) -> Option<SocketAddr> {
        let answer = self.answer.load();
        answer.addresses.get(answer.current).copied()
    }

    /// The address to connect to; looks it up first if none is known. `now` is milliseconds since the fleet began.
    pub(super) async fn address(&self, now: impl Fn() -> u64 + Send + Sync) -> Result<SocketAddr, ResolveError> {
        if let Some(address) = self.current() {
            return Ok(address);
        }
        let search = async {
            let _alone = self.looking.lock().await;
            // Another may have found it, or failed to, in the meantime.
            if self.current().is_none() && !self.literal && self.recent_error(now()).is_none() {
                self.look_up(&now).await;
            }
        };
        let timed_out = tokio::time::timeout(REQUEST_WAITS, search).await.is_err();
        let answer = self.answer.load();
        match (answer.addresses.get(answer.current), &answer.error) {
            (Some(address), _) => Ok(*address),
            (None, Some(error)) if !timed_out => Err(error.clone()),
            _ => Err(ResolveError::TimedOut { host: self.host.clone(), after: REQUEST_WAITS }),
        }
    }

    /// When the next refresh is due; `None` if it needs none.
    pub(super) fn refresh_due(&self) -> Option<u64> {
        if self.literal {
            return None;
        }
        Some(self.answer.load().at.map_or(0, |at| at.saturating_add(REFRESH_MS)))
    }

    /// Looks the name up again.
    pub(super) async fn refresh(&self, now: impl Fn() -> u64 + Send + Sync) {
        if self.literal {
            return;
        }
        let _alone = self.looking.lock().await;
        self.look_up(now).await;
    }

    /// How many addresses are known.
    pub(super) fn len(&self) -> usize {
        self.answer.load().addresses.len()
    }

    /// A connection to `failed` could not be made: the next address takes its place.
    pub(super) fn rotate(&self, failed: SocketAddr) {
        self.answer.rcu(|answer| {
            let mut next = Answer::clone(answer);
            if next.addresses.get(next.current) == Some(&failed) {
                next.current = (next.current + 1).checked_rem(next.addresses.len()).unwrap_or(0);
            }
            next
        });
    }

    /// All addresses, the current one first, and what the last lookup failed with.
    pub(super) fn view(&self) -> (Vec<SocketAddr>, Option<ResolveError>) {
        let answer = self.answer.load();
        let (before, from) = answer.addresses.split_at_checked(answer.current).unwrap_or_default();
        ([from, before].concat(), answer.error.clone())
    }

    async fn look_up(&self, now: impl Fn() -> u64) {
        let found = match tokio::time::timeout(LOOKUP_TIMEOUT, self.lookup.lookup(&self.host, self.port)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(error)) => Err(ResolveError::Failed { host: self.host.clone(), reason: error.to_string() }),
            Err(_) => Err(ResolveError::TimedOut { host: self.host.clone(), after: LOOKUP_TIMEOUT }),
        };
        let before = self.answer.load_full();
        // Now, not when it was asked: a failure that took long would be no recent one to those who waited for it.
        let now = now();
        self.answer.rcu(|answer| answer.renewed(&self.host, found.clone(), now));
        let after = self.answer.load();
        if after.error != before.error
            && let Some(error) = &after.error
        {
            let kept = if after.addresses.is_empty() { "" } else { "; the addresses known so far stay in use" };
            log::warn!("{error}{kept}");
        }
    }

    fn recent_error(&self, now: u64) -> Option<ResolveError> {
        let answer = self.answer.load();
        let recent = answer.at.is_some_and(|at| now < at.saturating_add(FAILURE_MS));
        answer.error.clone().filter(|_| recent)
    }
}

impl Answer {
    /// The answer after a lookup.
    fn renewed(&self, host: &str, found: Result<Vec<SocketAddr>, ResolveError>, now: u64) -> Self {
        match found.and_then(|found| permitted(host, found)) {
            Err(error) => Self { at: Some(now), error: Some(error), ..self.clone() },
            Ok(addresses) => {
                let kept = self.addresses.get(self.current);
                let current = addresses.iter().position(|address| Some(address) == kept).unwrap_or(0);
                Self { addresses, current, at: Some(now), error: None }
            }
        }
    }
}

/// Drops what no provider may be. This stands behind every lookup, not before it, so
/// that a name cannot pass the check and then resolve to something else.
fn permitted(host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ResolveError> {
    let first = found.first().map(SocketAddr::ip);
    let mut kept: Vec<SocketAddr> = Vec::new();
    for address in found.into_iter().filter(|address| !is_forbidden(address.ip())) {
        if kept.len() < ADDRESSES && !kept.contains(&address) {
            kept.push(address);
        }
    }
    match first {
        Some(address) if kept.is_empty() => Err(ResolveError::Forbidden { host: host.to_owned(), address }),
        None => Err(ResolveError::Failed { host: host.to_owned(), reason: "no addresses".to_owned() }),
        Some(_) => Ok(kept),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives one answer after the other, then the last again and again; an empty one is an error.
    struct Scripted {
        answers: Vec<&'static str>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Lookup for Scripted {
        async fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
            tokio::task::yield_now().await;
            let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
            if self.answers[turn].is_empty() {
                return Err(io::Error::other("no such name"));
            }
            Ok(addresses(self.answers[turn], port))
        }
    }

    fn addresses(text: &str, port: u16) -> Vec<SocketAddr> {
        text.split_whitespace().map(|ip| SocketAddr::new(ip.parse().unwrap(), port)).collect()
    }

    fn resolver(answers: &[&'static str]) -> (Resolver, Arc<Scripted>) {
        let script = Arc::new(Scripted { answers: answers.to_vec(), asked: AtomicUsize::new(0) });
        (Resolver::new("model.example", 80, Arc::clone(&script) as Arc<dyn Lookup>), script)
    }

    fn text(resolver: &Resolver) -> String {
        let (addresses, _) = resolver.view();
        addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test]
    async fn the_first_requests_share_one_lookup() {
        let (resolver, script) = resolver(&["10.0.0.1 10.0.0.2"]);
        let first = tokio::join!(resolver.address(|| 1), resolver.address(|| 1), resolver.address(|| 1));
        let expected = Ok(addresses("10.0.0.1", 80)[0]);
        assert_eq!(first, (expected.clone(), expected.clone(), expected));
        assert_eq!(script.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_failure_answers_those_who_wait_and_is_tried_again_later() {
        let (resolver, script) = resolver(&["", "10.0.0.1"]);
        let (one, other) = tokio::join!(resolver.address(|| 1), resolver.address(|| 1));
        assert!(matches!(one, Err(ResolveError::Failed { .. })), "{one:?}");
        assert_eq!(one, other);
        assert_eq!(script.asked.load(Ordering::SeqCst), 1);
        assert!(resolver.address(|| FAILURE_MS).await.is_err());
        assert!(resolver.address(|| 1 + FAILURE_MS).await.is_ok());
    }

    #[tokio::test]
    async fn a_refresh_keeps_what_is_in_use_and_a_failed_one_keeps_all() {
        let (resolver, _) = resolver(&["10.0.0.1 10.0.0.2", "10.0.0.3 10.0.0.2 10.0.0.1", "", "10.0.0.4"]);
        resolver.refresh(|| 1).await;
        assert_eq!(text(&resolver), "10.0.0.1 10.0.0.2");
        assert_eq!(resolver.refresh_due(), Some(1 + REFRESH_MS));
        resolver.refresh(|| 2).await;
        assert_eq!(text(&resolver), "10.0.0.1 10.0.0.3 10.0.0.2");
        resolver.refresh(|| 3).await;
        assert_eq!(text(&resolver), "10.0.0.1 10.0.0.3 10.0.0.2");
        assert!(resolver.view().1.is_some());
        resolver.refresh(|| 4).await;
        assert_eq!((text(&resolver).as_str(), resolver.view().1), ("10.0.0.4", None));
    }

    #[tokio::test]
    async fn a_failed_address_gives_way_once() {
        let (resolver, _) = resolver(&["10.0.0.1 10.0.0.2"]);
        let failed = resolver.address(|| 1).await.unwrap();
        resolver.rotate(failed);
        resolver.rotate(failed);
        assert_eq!(text(&resolver), "10.0.0.2 10.0.0.1");
        resolver.rotate(addresses("10.0.0.2", 80)[0]);
        assert_eq!(text(&resolver), "10.0.0.1 10.0.0.2");
    }

    #[tokio::test]
    async fn literals_need_no_lookup() {
        for host in ["127.0.0.1", "::1"] {
            let script = Arc::new(Scripted { answers: vec![""], asked: AtomicUsize::new(0) });
            let resolver = Resolver::new(host, 80, Arc::clone(&script) as Arc<dyn Lookup>);
            assert_eq!(resolver.address(|| 1).await.unwrap().ip().to_string(), host);
            resolver.refresh(|| 1).await;
            assert_eq!((resolver.refresh_due(), script.asked.load(Ordering::SeqCst)), (None, 0));
        }
    }

    #[tokio::test]
    async fn metadata_addresses_are_refused_whatever_they_are_called() {
        let forbidden = [
            "169.254.169.254",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "100.100.100.200",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "168.63.129.16",
            "0.0.0.0",
            "224.0.0.1",
        ];
        for address in forbidden {
            let (named, _) = resolver(&[address]);
            assert!(matches!(named.address(|| 1).await, Err(ResolveError::Forbidden { .. })), "name -> {address}");
            let literal = Resolver::new(address, 80, Arc::new(SystemLookup));
            for now in [1, 60_000] {
                let refused = literal.address(|| now).await;
                assert!(matches!(refused, Err(ResolveError::Forbidden { .. })), "{address}: {refused:?}");
            }
        }
        let (mixed, _) = resolver(&["169.254.169.254 10.0.0.1"]);
        assert_eq!(mixed.address(|| 1).await, Ok(addresses("10.0.0.1", 80)[0]));
        for address in ["10.0.0.1", "127.0.0.1", "192.168.1.1", "100.64.0.1", "fd00::1", "2001:db8::1"] {
            let (permitted, _) = resolver(&[address]);
            assert!(permitted.address(|| 1).await.is_ok(), "{address}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_hangs_ends() {
        let resolver = Resolver::new("model.example", 80, Arc::new(crate::upstream::testing::Hangs));
        assert!(matches!(resolver.address(|| 1).await, Err(ResolveError::TimedOut { .. })));
    }

    /// So it is where the first of the machine's name servers is silent.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_too_late_for_a_request_is_of_use_to_the_next() {
        struct Slow;
        #[async_trait]
        impl Lookup for Slow {
            async fn lookup(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
                tokio::time::sleep(Duration::from_millis(5_005)).await;
                Ok(addresses("10.0.0.1", port))
            }
        }
        let resolver = Resolver::new("model.example", 80, Arc::new(Slow));
        let (asked, ()) = tokio::join!(resolver.address(|| 1), resolver.refresh(|| 1));
        assert!(matches!(asked, Err(ResolveError::TimedOut { .. })));
        assert_eq!(resolver.address(|| 2).await, Ok(addresses("10.0.0.1", 80)[0]));
    }
}
