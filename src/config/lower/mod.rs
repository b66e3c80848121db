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

use super::fields::{Fields, Text};
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

/// What the digest of every sealing key begins with; part of what is signed, so it may never change.
const SEALING: &[u8] = b"tidegate sealing key 1";

/// The settings that `root` stands for. They hold only if no problem was noted.
pub(super) fn settings(root: &Node, files: &mut FileList<'_>, problems: &Problems) -> Settings {
    let fields = Fields::open(&schema::ROOT, root, &super::problem::Place::File, problems);
    let server_fields = fields.section_or_empty("server", &schema::SERVER);
    let server = server::server(&server_fields, files);
    let admin = server::admin(&fields, &server);
    let providers = providers::providers(&fields, files);
    let (models, model_limits) = models::models(&fields, &providers);
    let facts = facts::rules(&fields, files);
    let former_sealing_keys = server_fields.list("former_sealing_keys").unwrap_or_default().iter();
    let former_sealing_keys =
        former_sealing_keys.filter_map(|item| Some(written_key(&Text::of(item, problems)?, problems))).collect();
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
        former_sealing_keys,
        providers: providers.built,
        files: Vec::new(),
    }
}

/// The key as written; without one, what all replicas of this configuration agree on.
fn sealing_key<'a>(server: &Fields<'_>, providers: impl Iterator<Item = &'a Provider>) -> SealingKey {
    if let Some(key) = server.text("sealing_key") {
        return written_key(&key, server.problems());
    }
    let mut digest = Sha256::new();
    digest.update(SEALING);
    for provider in providers {
        let key = provider.auth.as_ref().map_or("", |auth| auth.key.expose());
        for part in [&*provider.name, key] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    SealingKey::new(digest.finalize().into())
}

/// A sealing key as written, stretched to 32 bytes.
fn written_key(key: &Text<'_>, problems: &Problems) -> SealingKey {
    if key.value.chars().count() < 16 {
        let hint = "16 characters or more; `openssl rand -base64 32` makes a good one";
        problems.add(key.place, "the sealing key is too short", hint);
    }
    let digest = Sha256::new().chain_update(SEALING).chain_update(b"\0written\0").chain_update(key.value);
    SealingKey::new(digest.finalize().into())
}
