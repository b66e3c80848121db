//! What the outside can see of the edge: metrics, the access log, and the process's own log.
//!
//! The proxy calls [`Observer::started`] when a request comes and [`Observer::settle`] when it is over; the admin
//! listener asks [`Metrics::text`]. Nothing here waits for a disk, a pipe or a lock that a reader holds for long.

mod access_log;
mod line;
pub mod log;
pub mod metrics;
mod queue;
mod settled;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus::IntGauge;

pub use self::access_log::AccessLog;
pub use self::metrics::{Alias, KeyLabel, Metrics, MetricsOptions, Scrape, resident};
pub use self::queue::{LogPath, takes_lines};
pub use self::settled::{
    Abort, Attempt, Endpoint, Fallback, Lost, Method, Settled, Side, Translation, Usage, UsageSource,
};

/// The one thing that the rest of the process reports to.
pub struct Observer {
    metrics: Arc<Metrics>,
    access_log: Option<Arc<AccessLog>>,
}

/// Why an observer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The access log's target.
    #[error("access log: {target:?} cannot be opened for appending: {source}; check its folder and permissions")]
    AccessLog {
        /// Where the lines were to go.
        target: LogPath,
        /// What the system said.
        source: io::Error,
    },
    /// The table of metrics.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Observer {
    /// Makes the metrics and opens the access log, if one is wanted.
    ///
    /// # Errors
    ///
    /// When the access log's file cannot be opened.
    pub fn new(options: MetricsOptions, access_log: Option<LogPath>) -> Result<Self, ObserveError> {
        let metrics = Arc::new(Metrics::new(options)?);
        let open = |target: LogPath| {
            AccessLog::open(target.clone()).map_err(|source| ObserveError::AccessLog { target, source })
        };
        let access_log = access_log.map(open).transpose()?.map(Arc::new);
        if let Some(log) = access_log.clone() {
            metrics.on_scrape(Box::new(move |scrape| {
                scrape.set(metrics::table::Metric::AccessLogDroppedTotal, &[], metrics::count(log.dropped()));
            }));
        }
        Ok(Self { metrics, access_log })
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn started(&self, endpoint: Endpoint, method: Method) -> InFlight {
        let gauge = self.metrics.in_flight(endpoint, method);
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        InFlight { gauge }
    }

    /// Takes one finished exchange: metrics, and one line of the access log, but for a probe that found all well. To be
    /// called once for each.
    pub fn settle(&self, settled: &Settled<'_>) {
        self.metrics.settle(settled);
        // Load balancers ask every few seconds; what is well is no news.
        let probe = settled.endpoint == Endpoint::Health && settled.status == 200;
        if let Some(log) = self.access_log.as_ref().filter(|_| !probe) {
            log.write(settled);
        }
    }

    /// Counts one check of a client key. `reason` comes from a closed set: `ok`, `missing`, `unknown`.
    pub fn auth(&self, allowed: bool, reason: &'static str) {
        self.metrics.auth(if allowed { "allowed" } else { "denied" }, reason);
    }

    /// Counts one connection that was not served. `reason` comes from a closed set.
    pub fn connection_refused(&self, reason: &'static str) {
        self.metrics.connection_refused(reason);
    }

    /// Counts one reload of the config; a good one also becomes the one in use.
    pub fn reload(&self, good: bool) {
        self.metrics.reload(good);
    }

    /// Notes that the config of the start is in use, which is no reload.
    pub fn config_in_use(&self) {
        self.metrics.config_in_use();
    }

    /// The metrics, for the admin listener and for scrape hooks.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Opens the access log anew, after a rotation.
    pub fn reopen(&self) {
        if let Some(log) = &self.access_log {
            log.reopen();
        }
    }

    /// Waits until the access log is written, at most `patience`; `false` when it was not.
    pub fn flush(&self, patience: Duration) -> bool {
        self.access_log.as_ref().is_none_or(|log| log.flush(patience))
    }
}

/// One request in flight; dropping it is its end.
#[derive(Debug)]
pub struct InFlight {
    gauge: Option<IntGauge>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}
