//! A pass-through proxy on Pingora with no code of ours in the way of a request: the baseline of every figure.
//!
//! `tidegate-bare LISTEN UPSTREAM`, both `host:port`. One worker thread, plain HTTP/1.1 both ways.

use std::net::SocketAddr;
use std::process::ExitCode;

use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: jemallocator::Jemalloc = jemallocator::Jemalloc;

/// The settings of `tidegate`'s allocator.
#[cfg(not(target_env = "msvc"))]
#[allow(unsafe_code, reason = "jemalloc reads its settings from this symbol: a pointer to text that ends in NUL")]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; MALLOC_TEXT.len()] = MALLOC_TEXT;

#[cfg(not(target_env = "msvc"))]
const MALLOC_TEXT: &[u8; 149] = b"background_thread:true,narenas:4,dirty_decay_ms:1000,muzzy_decay_ms:0,\
    tcache_gc_incr_bytes:8388608,tcache_nslots_small_min:64,tcache_nslots_large:32\0";

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> pingora_core::Result<Box<HttpPeer>> {
        #[expect(clippy::disallowed_methods, reason = "an address, parsed at start, cannot fail to resolve")]
        let peer = HttpPeer::new(self.upstream, false, String::new());
        Ok(Box::new(peer))
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(upstream), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return usage("two arguments are wanted");
    };
    let Ok(upstream) = upstream.parse() else {
        return usage("UPSTREAM is no address");
    };
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: 1024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream });
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever()
}

#[expect(clippy::print_stderr, reason = "the answer to a wrong command line")]
fn usage(problem: &str) -> ExitCode {
    eprintln!("tidegate-bare: {problem}\nusage: tidegate-bare LISTEN UPSTREAM   (as 127.0.0.1:9121 127.0.0.1:9001)");
    ExitCode::from(2)
}
