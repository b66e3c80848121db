//! `tidegate health`: asks a running edge whether it is ready; for container health checks, which have no curl.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::{Failure, exit};

/// Ask a running tidegate whether it is ready: exit code 0 if it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tidegate health                                    the admin listener at its default address
  tidegate health http://127.0.0.1:9090/health/live  another path
  HEALTHCHECK CMD [\"tidegate\", \"health\"]             in a Dockerfile")]
pub(super) struct Args {
    /// What to ask: an http URL.
    #[arg(default_value = "http://127.0.0.1:9090/health/ready")]
    url: String,
    /// How long to wait for the connection, and again for the answer, in seconds.
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
}

/// Asks, and fails unless the answer is a 2xx.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let target = Target::parse(&args.url)?;
    let status = ask(&target, Duration::from_secs(args.timeout))
        .map_err(|e| Failure::new(exit::FAILED, format!("{}: {e}", args.url)).hint("is tidegate running there?"))?;
    match status {
        200..=299 => Ok(()),
        status => Err(Failure::new(exit::FAILED, format!("{} answers {status}: not ready", args.url))),
    }
}

/// The parts of an http URL.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// Host and port, as the `host` header has them and as they are resolved.
    authority: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, Failure> {
        let wrong = |what: &str| {
            Failure::new(exit::USAGE, format!("`{url}` {what}"))
                .hint("give an address such as http://127.0.0.1:9090/health/ready")
        };
        let rest = url.strip_prefix("http://").ok_or_else(|| wrong("is no http:// URL"))?;
        let (authority, path) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, "/"));
        let odd = |c: char| c.is_whitespace() || c.is_control() || c == '@';
        if authority.is_empty() || url.contains(odd) {
            return Err(wrong("has no host, or characters that a URL cannot have"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        Ok(Self { authority, path: path.to_owned() })
    }
}

/// The status of a GET.
fn ask(target: &Target, timeout: Duration) -> std::io::Result<u16> {
    let mut stream = connect(&target.authority, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let (path, host) = (&target.path, &target.authority);
    // One write, for servers that look at the first packet only.
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: tidegate-health\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    // `HTTP/1.1 200` is all that is needed.
    let mut start = [0; 12];
    stream.read_exact(&mut start)?;
    let status = std::str::from_utf8(&start).ok().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok());
    status.ok_or_else(|| std::io::Error::other("the answer is not HTTP/1.1"))
}

/// Tries each address that the name stands for.
fn connect(authority: &str, timeout: Duration) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::other("the name stands for no address");
    let addresses: Vec<SocketAddr> = authority.to_socket_addrs()?.collect();
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn check_url(url: &str, expect: Option<(&str, &str)>) {
        let got = Target::parse(url).ok();
        let got = got.as_ref().map(|target| (target.authority.as_str(), target.path.as_str()));
        assert_eq!(got, expect, "{url}");
    }

    #[test]
    fn urls() {
        check_url("http://127.0.0.1:9090/health/ready", Some(("127.0.0.1:9090", "/health/ready")));
        check_url("http://edge", Some(("edge:80", "/")));
        check_url("http://[::1]:9090/x", Some(("[::1]:9090", "/x")));
        check_url("http://[::1]/x", Some(("[::1]:80", "/x")));
        for url in ["https://edge/", "edge", "http:///x", "http://edge/\r\nx: y", "http://user@edge/"] {
            check_url(url, None);
        }
    }

    /// What `run` makes of a server that gives this answer and closes.
    fn check(answer: &'static str, expect: Result<(), &str>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health/ready", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let result = run(&Args { url, timeout: 5 });
        assert!(server.join().unwrap().starts_with("GET /health/ready HTTP/1.1\r\nhost: 127.0.0.1:"));
        match (result, expect) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Err(part)) => assert!(failure.message.contains(part), "{failure}"),
            (result, _) => panic!("{answer:?}: {result:?}"),
        }
    }

    #[test]
    fn only_a_2xx_is_ready() {
        check("HTTP/1.1 200 OK\r\n\r\n", Ok(()));
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok(()));
        check("HTTP/1.1 503 Service Unavailable\r\n\r\n", Err("answers 503"));
        check("SSH-2.0-OpenSSH_9.9\r\n", Err("not HTTP"));
        check("", Err("127.0.0.1"));
    }
}
