//! The beginning and the end of a process's service: when it says that it serves, to whom it hands over, and when it
//! may go.

use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use super::control::Control;
use super::front::{leave_all, leave_idle};
use super::handover::{self, Giver, Inherited};
use crate::clock;
use crate::upstream::seam;

/// Longest wait for the access log's last lines when the process ends.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// How long connections without a request stay open once the process drains: clients that are between two requests get
/// the time to send the next, and to be told that it is the last.
const FAREWELL: Duration = Duration::from_millis(700);

/// How long those that never sent it get to see their connections closed: a process that ends closes them one by one, and
/// what comes meanwhile is read by nobody.
const PARTING: Duration = Duration::from_millis(150);

/// How often a draining process looks whether it may go.
const GLANCE: Duration = Duration::from_millis(50);

/// How long before the drain's deadline those that are left are told, where it is not short.
const NOTICE: Duration = seam::LOOKS.saturating_mul(2);

/// The least time that they get to tell their clients, however short the deadline is: those that wait for a provider
/// which says nothing hear of it within [`seam::LOOKS`].
const MOMENT: Duration = Duration::from_millis(500).saturating_add(seam::LOOKS);

/// The same where the process is to end at once.
const INSTANT: Duration = Duration::from_millis(200);

/// What ends a process: a signal, or another process in its place.
pub(super) struct Signals {
    pub(super) handed_over: watch::Receiver<bool>,
    pub(super) ending: Ending,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let watched = [SignalKind::terminate(), SignalKind::quit(), SignalKind::interrupt()].map(signal);
        let [Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)] = watched else {
            log::error!("signals cannot be watched: the process ends by force only");
            return std::future::pending().await;
        };
        let mut handed_over = self.handed_over.clone();
        let mut signal = tokio::select! {
            _ = terminate.recv() => None,
            _ = quit.recv() => Some(ShutdownSignal::GracefulTerminate),
            Ok(_) = handed_over.wait_for(|done| *done) => Some(ShutdownSignal::GracefulTerminate),
            _ = interrupt.recv() => Some(ShutdownSignal::FastShutdown),
        };
        if signal.is_none() {
            let delay = self.ending.announce();
            // Who asks a second time waits for no balancer.
            signal = tokio::select! {
                () = tokio::time::sleep(delay) => None,
                _ = terminate.recv() => None,
                _ = quit.recv() => None,
                Ok(_) = handed_over.wait_for(|done| *done) => None,
                _ = interrupt.recv() => Some(ShutdownSignal::FastShutdown),
            };
        }
        let signal = signal.unwrap_or(ShutdownSignal::GracefulTerminate);
        if matches!(signal, ShutdownSignal::FastShutdown) {
            self.ending.at_once().await;
        }
        signal
    }
}

/// Services that must be at work before something goes on.
pub(super) struct Awaited {
    /// Holds a permit for each that is.
    ready: Arc<Semaphore>,
    /// How many there are.
    services: u32,
}

impl Awaited {
    pub(super) fn nobody() -> Self {
        Self { ready: Arc::new(Semaphore::new(0)), services: 0 }
    }

    /// One more service, which gives one permit to what it gets here once it is at work.
    pub(super) fn one_more(&mut self) -> Arc<Semaphore> {
        self.services += 1;
        Arc::clone(&self.ready)
    }

    /// Waits until all are at work; false if they never will be.
    async fn all(&self) -> bool {
        self.ready.acquire_many(self.services).await.is_ok()
    }
}

/// Says that the process serves, takes over from an old one, and hands over to a new one.
pub(super) struct Handover {
    /// From whom the sockets came.
    pub(super) inherited: Mutex<Option<Inherited>>,
    /// To whom they go; `None` where there is no place for an upgrade socket.
    pub(super) giver: Mutex<Option<Giver>>,
    /// Who must be at work before the process says that it serves.
    pub(super) awaited: Awaited,
    pub(super) handed_over: watch::Sender<bool>,
    /// Socket of the service manager.
    pub(super) manager: Option<String>,
}

#[async_trait]
impl BackgroundService for Handover {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if !self.awaited.all().await {
            return;
        }
        let process = std::process::id();
        let inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner).take();
        let took_over = inherited.is_some();
        if let Some(inherited) = inherited {
            handover::commit();
            if !handover::report("starting") {
                // It said that there was no upgrade: then there must be none.
                log::error!("not taken over: who started this process waits no more");
                end(1);
            }
            let told = tokio::task::spawn_blocking(|| inherited.ready()).await;
            if !matches!(told, Ok(Ok(()))) {
                log::warn!("the old process was not heard to drain; it may be gone");
            }
        }
        // Whoever asks for the next upgrade must find this process as soon as it is known to serve.
        let giver = self.giver.lock().unwrap_or_else(PoisonError::into_inner).take();
        let open = giver.map(|giver| giver.open().map(|listener| (giver, listener))).transpose();
        handover::notify(self.manager.as_ref(), &format!("READY=1\nMAINPID={process}\n"));
        log::info!("serving: process {process}");
        if took_over {
            handover::report(&format!("serving: process {process}"));
        }
        match open {
            Ok(Some((giver, listener))) => self.offer(Arc::new(giver), listener, &mut shutdown).await,
            Ok(None) => {}
            Err(error) => log::error!("no upgrade is possible: the upgrade socket cannot be opened: {error}"),
        }
    }
}

impl Handover {
    /// Waits for a process that takes over. The sockets are let go when this returns.
    async fn offer(&self, giver: Arc<Giver>, listener: std::os::unix::net::UnixListener, shutdown: &mut ShutdownWatch) {
        let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener));
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => return log::error!("no upgrade is possible: {error}"),
        };
        while !*shutdown.borrow() {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.changed() => continue,
            };
            let Ok(Ok(mut new)) = accepted.map(|(stream, _)| stream.into_std()) else { continue };
            let giving = Arc::clone(&giver);
            let given = tokio::task::spawn_blocking(move || giving.give(&mut new).map(|()| new)).await;
            match given {
                Ok(Ok(new)) => return self.leave(new),
                Ok(Err(error)) => log::warn!("not handed over, this process goes on: {error}"),
                Err(error) => log::error!("not handed over, this process goes on: {error}"),
            }
        }
    }

    fn leave(&self, mut new: UnixStream) {
        log::info!("handed over: another process serves from now on");
        self.handed_over.send_replace(true);
        // It does not block: the words fit into any buffer.
        Giver::done(&mut new);
    }
}

/// Ends the process once nothing is in flight after a stop began: Pingora itself would sleep its whole grace period.
pub(super) struct Drain(pub(super) Ending);

/// The end of the process.
#[derive(Clone)]
pub(super) struct Ending {
    pub(super) control: Control,
    /// Requests that are under way.
    pub(super) underway: Arc<AtomicUsize>,
}

#[async_trait]
impl BackgroundService for Drain {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        if shutdown.changed().await.is_err() {
            return;
        }
        let Self(ending) = self;
        ending.control.draining.store(true, Ordering::Relaxed);
        log::info!("draining: {} requests are under way", ending.underway());
        // Whoever wants another deadline writes it into the config before the stop.
        let patience = ending.control.live.load().settings.server.drain_deadline;
        let notice = NOTICE.min(patience / 2);
        tokio::select! {
            () = tokio::time::sleep(patience.saturating_sub(notice)) => {
                log::warn!("the drain takes too long: {} answers are ended", ending.underway());
                ending.tell(notice.max(MOMENT)).await;
            }
            () = ending.last_request() => {}
            () = interrupted() => ending.at_once().await,
        }
        ending.end()
    }
}

impl Ending {
    fn underway(&self) -> usize {
        self.underway.load(Ordering::Relaxed)
    }

    /// Says that the process will end, so that balancers send it nothing more; returns how long they have.
    fn announce(&self) -> Duration {
        let delay = self.control.live.load().settings.server.drain_delay;
        if !delay.is_zero() {
            self.control.draining.store(true, Ordering::Relaxed);
            log::info!("not ready any more: new connections are taken for another {} s", delay.as_secs_f64());
        }
        delay
    }

    /// Ends the answers that are under way, and waits for at most `patience` until their clients know.
    async fn tell(&self, patience: Duration) {
        seam::last_call();
        // What the last one said is on its way meanwhile.
        if tokio::time::timeout(patience, self.last_of_all()).await.is_err() {
            // They hang in a write: its failure is what they end by.
            leave_all();
            let _ = tokio::time::timeout(INSTANT, self.last_of_all()).await;
        }
    }

    async fn last_of_all(&self) {
        while self.underway() > 0 {
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn last_request(&self) {
        let began = clock::now();
        while self.underway() > 0 || clock::now().duration_since(began) < FAREWELL {
            tokio::time::sleep(GLANCE).await;
        }
        leave_idle();
        let parted = clock::now();
        // Of whom something had come by then is answered.
        while self.underway() > 0 || (self.control.gate.open() > 0 && clock::now().duration_since(parted) < PARTING) {
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Ends the process without waiting for anyone: those that can be told in a moment are, and are in the log.
    async fn at_once(&self) {
        log::warn!("interrupted: {} requests are under way", self.underway());
        self.tell(INSTANT).await;
        self.end()
    }

    fn end(&self) -> ! {
        if self.underway() > 0 {
            log::warn!("the process ends with {} requests under way", self.underway());
        }
        self.control.observer.flush(LOG_PATIENCE);
        log::logger().flush();
        end(0)
    }
}

/// SIGINT: whoever sends it while the process drains does not want to wait.
async fn interrupted() {
    match signal(SignalKind::interrupt()) {
        Ok(mut interrupt) => {
            interrupt.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
}

#[allow(
    clippy::exit,
    reason = "Pingora would sleep its whole grace period; every exchange is over, or none has begun, and the log is written"
)]
pub(super) fn end(code: i32) -> ! {
    std::process::exit(code)
}
