//! Measures the process's memory once a second, and what of it the system allows.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use crate::config::{Live, MemoryLimit};
use crate::limits::Memory;
use crate::observe;
use crate::proxy::Budget;

/// Between two measurements.
const INTERVAL: Duration = Duration::from_secs(1);

/// Percent of what the control group allows that are the limit where none is written.
const SHARE: u64 = 90;

/// Where the files of control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Tells `memory` how the process stands.
pub(super) struct Watch {
    pub(super) live: Arc<Live>,
    pub(super) memory: Arc<Memory>,
    pub(super) bodies: Arc<Budget>,
}

#[async_trait]
impl BackgroundService for Watch {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let allowed = allowed(Path::new(GROUPS), &read(Path::new("/proc/self/cgroup")));
        loop {
            let limit = match self.live.load().settings.server.limits.memory {
                MemoryLimit::Off => None,
                MemoryLimit::Derived => allowed.map(|bytes| bytes / 100 * SHARE),
                MemoryLimit::Bytes(bytes) => Some(bytes),
            };
            // A file of the kernel's own: reading it waits for no disk.
            let resident = observe::resident();
            let before = self.memory.is_short();
            self.memory.measured(resident.unwrap_or(0), limit);
            // A burst of large bodies is quicker than the next measurement.
            self.bodies.measured(limit.map(|limit| limit.saturating_sub(resident.unwrap_or(0))));
            if self.memory.is_short() != before {
                tell(!before, self.memory.view());
            }
            tokio::select! {
                _ = shutdown.changed() => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        // Nobody measures any more, and what is short must not stay so.
        self.memory.measured(0, None);
        self.bodies.measured(None);
    }
}

fn tell(short: bool, (resident, limit): (u64, Option<u64>)) {
    let (resident, limit) = (resident >> 20, limit.unwrap_or(0) >> 20);
    if short {
        log::warn!("memory: {resident} MiB of {limit} MiB are in use; new requests are refused");
    } else {
        log::info!("memory: {resident} MiB of {limit} MiB are in use; requests are taken again");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The least that the process's control group and those above it allow; `own` is `/proc/self/cgroup`. Version 2 has one
/// line `0::/path`, version 1 one with `memory` in the middle.
fn allowed(groups: &Path, own: &str) -> Option<u64> {
    let found = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (kinds, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        match kinds {
            "" => least(groups, path, "memory.max"),
            kinds if kinds.split(',').any(|kind| kind == "memory") => {
                least(&groups.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => None,
        }
    });
    found.min()
}

/// The least number in files of that name, from `path` below `root` up to it. In a container the path may be one of the
/// host, of which only the root is there.
fn least(root: &Path, path: &str, file: &str) -> Option<u64> {
    // Version 1 says "none" by a number near 2 to the 63rd.
    const NONE: u64 = 1 << 62;
    let folders = Path::new(path).ancestors().map(PathBuf::from);
    let limits = folders.filter_map(|folder| read(&root.join(folder).join(file)).trim().parse::<u64>().ok());
    limits.filter(|limit| (1..NONE).contains(limit)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_limit_on_the_way_up_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let file = root.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        let check = |own: &str, limit: Option<u64>| assert_eq!(allowed(root.path(), own), limit, "{own}");
        check("0::/a/b\n", None);
        write("a/b/memory.max", "max\n");
        check("0::/a/b\n", None);
        write("a/memory.max", "1000\n");
        check("0::/a/b\n", Some(1000));
        write("memory.max", "500\n");
        check("0::/a/b\n", Some(500));
        check("0::/of/the/host\n", Some(500));
        write("memory/x/memory.limit_in_bytes", "300\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        check("4:memory:/x\n1:cpu:/\n", Some(300));
        check("4:cpu,memory:/y\n", None);
    }
}
