//! The real binary as a child process: started with a config, killed when the test ends, its log at hand.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};

use super::PATIENCE;
use super::client::{Ask, Client, Response};
use super::provider::Provider;

/// A config file, built by parts.
#[derive(Clone, Debug, Default)]
pub struct Conf {
    server: Vec<String>,
    admin: Vec<String>,
    providers: Vec<String>,
    models: Vec<String>,
    clients: Option<String>,
    top: Vec<String>,
    env: Vec<(String, String)>,
}

impl Conf {
    /// An edge that lets everyone in.
    pub fn open() -> Self {
        Self::default().top("auth: off")
    }

    /// An edge with these clients (a YAML list, without its key).
    pub fn with_clients(clients: &str) -> Self {
        Self { clients: Some(clients.to_owned()), ..Self::default() }
    }

    /// A scripted provider.
    pub fn provider(self, name: &str, kind: &str, provider: &Provider) -> Self {
        self.provider_at(name, kind, &provider.url(), "")
    }

    /// A provider by its URL, with more keys (YAML flow entries).
    pub fn provider_at(mut self, name: &str, kind: &str, url: &str, more: &str) -> Self {
        let comma = if more.is_empty() { "" } else { ", " };
        self.providers
            .push(format!("{name}: {{kind: {kind}, url: \"{url}\", key: \"sk-upstream-{name}\"{comma}{more}}}"));
        self
    }

    /// A provider as it is written.
    pub fn provider_yaml(mut self, line: &str) -> Self {
        self.providers.push(line.to_owned());
        self
    }

    /// A model, as it is written behind the name.
    pub fn model(mut self, name: &str, value: &str) -> Self {
        self.models.push(format!("\"{name}\": {value}"));
        self
    }

    /// A line under `server`.
    pub fn server(mut self, line: &str) -> Self {
        self.server.push(line.to_owned());
        self
    }

    /// A line at the top level.
    pub fn top(mut self, line: &str) -> Self {
        self.top.push(line.to_owned());
        self
    }

    /// A variable for the process.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The file for these addresses.
    pub fn render(&self, public: SocketAddr, admin: SocketAddr, dir: &str) -> String {
        let mut text = String::new();
        let mut line = |value: &str| writeln!(text, "{value}").expect("text takes text");
        line("server:");
        if !self.server.iter().any(|entry| entry.starts_with("listen:")) {
            line(&format!("  listen: [{{address: \"{public}\"}}]"));
        }
        self.server.iter().for_each(|entry| line(&format!("  {entry}")));
        line(&format!("admin:\n  listen: \"{admin}\""));
        self.admin.iter().for_each(|entry| line(&format!("  {entry}")));
        line("providers:");
        self.providers.iter().for_each(|entry| line(&format!("  {entry}")));
        if !self.models.is_empty() {
            line("models:");
        }
        self.models.iter().for_each(|entry| line(&format!("  {entry}")));
        if let Some(clients) = &self.clients {
            line("clients:");
            clients.lines().for_each(|entry| line(&format!("  {entry}")));
        }
        self.top.iter().for_each(|entry| line(entry));
        text.replace("@PUBLIC", &public.to_string()).replace("@DIR", dir)
    }
}

/// A running edge.
pub struct Edge {
    /// The public listener.
    pub addr: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// Its config file.
    pub file: PathBuf,
    child: Child,
    env: Vec<(String, String)>,
    /// Processes that took its place.
    heirs: Mutex<Vec<String>>,
    log: Arc<Mutex<String>>,
    /// Where its files are.
    pub dir: TempDir,
}

impl Edge {
    /// Starts it and waits until it answers.
    pub async fn start(conf: &Conf) -> Self {
        Self::start_in(conf, TempDir::new().expect("the system has a directory for temporary files")).await
    }

    /// The same, with a directory that the test has put files into (`@DIR` in the config).
    pub async fn start_in(conf: &Conf, dir: TempDir) -> Self {
        let mut edge = Self::launch(conf, dir);
        edge.ready().await;
        edge
    }

    /// Begins one, and waits for nothing.
    pub fn launch(conf: &Conf, dir: TempDir) -> Self {
        let (addr, admin) = free_ports();
        let file = dir.path().join("tidegate.yaml");
        let text = conf.render(addr, admin, &dir.path().to_string_lossy());
        std::fs::write(&file, text).expect("the test's directory takes files");
        let folder = dir.path().to_string_lossy().into_owned();
        let env: Vec<_> = conf.env.iter().map(|(n, v)| (n.clone(), v.replace("@DIR", &folder))).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("run")
            .arg("--config")
            .arg(&file)
            .env_clear()
            .envs(env.iter().map(|(n, v)| (n, v)))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Arc::new(Mutex::new(String::new()));
        follow(child.stdout.take().expect("piped"), Arc::clone(&log));
        follow(child.stderr.take().expect("piped"), Arc::clone(&log));
        Self { addr, admin, file, child, env, heirs: Mutex::default(), log, dir }
    }

    async fn ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the edge ended with {status}:\n{}", self.log());
            }
            if answers(self.addr).await && answers(self.admin).await {
                return;
            }
            assert!(Instant::now() < deadline, "the edge did not get ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything that it has written so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first line of its log that fits, waited for.
    pub async fn log_line(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| fits(line)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "the log never showed {what}:\n{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks the admin listener.
    pub async fn admin(&self, method: &str, path: &str) -> Response {
        let ask = match method {
            "GET" => Ask::get(path),
            _ => Ask::post(path, ""),
        };
        ask.send(self.admin).await
    }

    /// All metrics as text.
    pub async fn metrics(&self) -> String {
        self.admin("GET", "/metrics").await.text()
    }

    /// The sum of the samples of one family whose labels contain all these words.
    pub async fn metric(&self, family: &str, labels: &[&str]) -> f64 {
        sum(&self.metrics().await, family, labels)
    }

    /// Waits until a metric is at least this.
    pub async fn metric_reaches(&self, family: &str, labels: &[&str], least: f64) {
        self.metric_comes(family, labels, &format!("{least} or more"), |value| value >= least).await;
    }

    /// Waits until a metric is exactly this. An answer is read before its exchange is counted and what it held is given
    /// back, so what is told of it is never there at once.
    pub async fn metric_becomes(&self, family: &str, labels: &[&str], wanted: f64) {
        self.metric_comes(family, labels, &wanted.to_string(), |value| (value - wanted).abs() < 0.5).await;
    }

    async fn metric_comes(&self, family: &str, labels: &[&str], wanted: &str, fits: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.metrics().await;
            let value = sum(&text, family, labels);
            if fits(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{family} {labels:?} is {value}, not {wanted}:\n{text}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Writes another config; the edge is not told.
    pub fn rewrite(&self, conf: &Conf) {
        let text = conf.render(self.addr, self.admin, &self.dir.path().to_string_lossy());
        self.rewrite_text(&text);
    }

    /// Writes any text as the config, by rename, as careful editors do.
    pub fn rewrite_text(&self, text: &str) {
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, text).expect("the test's directory takes files");
        std::fs::rename(&fresh, &self.file).expect("a file can be renamed");
    }

    /// Sends a signal by its short name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// Runs `tidegate upgrade` to its end; what it said, and whether it succeeded.
    pub async fn upgrade(&self, more: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("upgrade").arg("--config").arg(&self.file).args(more).env_clear();
        command.envs(self.env.iter().map(|(n, v)| (n, v))).current_dir(self.dir.path()).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends").expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if let Some((_, process)) = said.split_once("serving: process ") {
            let mut heirs = self.heirs.lock().unwrap_or_else(PoisonError::into_inner);
            heirs.push(process.split_whitespace().next().unwrap_or_default().to_owned());
        }
        (output.status.success(), said)
    }

    /// Starts a process that takes over although nobody waits for it; its exit code.
    pub async fn take_over_unasked(&self) -> Option<i32> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["run", "--take-over", "--config"]).arg(&self.file).env_clear().stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        tokio::task::spawn_blocking(move || command.status()).await.expect("it ends").expect("it starts").code()
    }

    /// Waits until the process that was started first has ended; false if it does not within `limit`.
    pub async fn ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                assert!(status.success(), "{status}:\n{}", self.log());
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for heir in self.heirs.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = Command::new("kill").arg("-KILL").arg(heir).status();
        }
        if std::thread::panicking() {
            eprintln!("--- the edge's log ---\n{}", super::show(self.log().as_bytes()));
        }
    }
}

/// The sum of the samples of one family whose labels contain all these words.
pub fn sum(text: &str, family: &str, labels: &[&str]) -> f64 {
    let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let name = series.split('{').next()?;
        (name == family && labels.iter().all(|label| series.contains(label))).then(|| value.parse::<f64>().ok())?
    });
    samples.sum()
}

/// Two ports that nobody else takes: below the range from which the system deals out ports, and no test of this
/// process gets one twice.
pub fn free_ports() -> (SocketAddr, SocketAddr) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let one = || loop {
        // Another process of the same tests begins elsewhere.
        let offset = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 16_000;
        let port = 15_000 + u16::try_from(offset).expect("below 16,000");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        // Bound and never listening: a child that is started meanwhile has a copy until it runs its program, and
        // nobody may take that for the edge, nor the edge find its port taken.
        let probe = TcpSocket::new_v4().expect("the system has sockets");
        probe.set_reuseaddr(true).expect("a socket takes this option");
        if probe.bind(addr).is_ok() {
            return addr;
        }
    };
    (one(), one())
}

async fn answers(addr: SocketAddr) -> bool {
    match TcpStream::connect(addr).await {
        Ok(stream) => Client::over(stream).ask(&Ask::get("/health")).await.status == 200,
        Err(_) => false,
    }
}

fn follow(stream: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while let Ok(1..) = lines.read_until(b'\n', &mut line) {
            log.lock().unwrap_or_else(PoisonError::into_inner).push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
}
