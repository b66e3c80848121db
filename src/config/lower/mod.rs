//! From what is written to what runs. Each part notes every fault it meets and goes on.

mod clients;
mod facts;
mod limits;
mod models;
mod operations;
mod providers;
mod rules;
mod server;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::provider::Provider;
use crate::secret::SealingKey;

use super::fields::Fields;
use super::problem::Problems;
use super::schema;
use super::settings::Settings;
use super::tree::Node;

/// The files that a configuration names.
pub(super) struct FileList<'a> {
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
    /// Those that were read, or should have been.
    pub(super) read: Vec<PathBuf>,
}

impl FileList<'_> {
    /// The path that is written, noted as one that is read.
    fn path(&mut self, written: &str) -> PathBuf {
        let path = self.folder.join(written);
        self.read.push(path.clone());
        path
    }
}

/// The settings that `root` stands for. They hold only if no problem was noted.
pub(super) fn settings(root: &Node, files: &mut FileList<'_>, problems: &Problems) -> Settings {
    let fields = Fields::open(&schema::ROOT, root, &super::problem::Place::File, problems);
    let server_fields = fields.section_or_empty("server", &schema::SERVER);
    let server = server::server(&server_fields, files);
    let admin = server::admin(&fields, &server);
    let providers = providers::providers(&fields, files);
    let (models, model_limits) = models::models(&fields, &providers);
    let facts = facts::rules(&fields, files);
    let sealing_key = sealing_key(&server_fields, providers.built.values().map(AsRef::as_ref));
    Settings {
        server,
        admin,
        access_log: server::access_log(&fields, files.folder),
        metrics: server::metrics(&fields),
        facts,
        rules: rules::rules(&fields, &models),
        models,
        model_limits,
        operations: operations::operations(&fields, &providers),
        clients: clients::clients(&fields, &providers),
        sealing_key,
        providers: providers.built,
        files: Vec::new(),
    }
}

/// The key as written, stretched to 32 bytes; without one, what all replicas of this configuration agree on.
fn sealing_key<'a>(server: &Fields<'_>, providers: impl Iterator<Item = &'a Provider>) -> SealingKey {
    let mut digest = Sha256::new();
    digest.update(b"tidegate sealing key 1");
    if let Some(key) = server.text("sealing_key") {
        if key.value.chars().count() < 16 {
            let hint = "16 characters or more; `openssl rand -base64 32` makes a good one";
            server.problems().add(key.place, "the sealing key is too short", hint);
        }
        digest.update(b"\0written\0");
        digest.update(key.value);
    } else {
        for provider in providers {
            let key = provider.auth.as_ref().map_or("", |auth| auth.key.expose());
            for part in [&*provider.name, key] {
                digest.update((part.len() as u64).to_be_bytes());
                digest.update(part);
            }
        }
    }
    SealingKey::new(digest.finalize().into())
}
