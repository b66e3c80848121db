//! A condition that one side waits for and another side fulfils: a pause that needs no luck.

use std::sync::Arc;

use tokio::sync::watch;

/// Closed until someone opens it; then open for ever. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everyone through who waits or will wait.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Returns when the gate is open.
    pub async fn wait(&self) {
        let mut seen = self.0.subscribe();
        // The sender lives in `self`, so that the wait cannot fail.
        let _ = seen.wait_for(|open| *open).await;
    }
}
