//! Development keys: one random secret in the data folder, and everything else derived from it, so that the processes
//! of one platform agree and no two platforms do.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use steadfast_core::sealing::Keyring;
use steadfast_core::{Clock, sha256};
use steadfast_host::auth::{Key, Minter, Verifier};
use steadfast_saga::participant::token;

const FILE: &str = "development.key";
const ISSUER: &str = "steadfast-development";
const AUDIENCE: &str = "goodgo";
const KID: &str = "development";
/// Longer than any run: a replay must not fail for a token's age.
const LIFETIME: Duration = Duration::from_hours(24);

/// The keys of a platform that is not in production.
#[derive(Clone)]
pub(crate) struct Keys {
    secret: Vec<u8>,
}

impl std::fmt::Debug for Keys {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The folder's keys; made where there are none.
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if let Ok(secret) = fs::read(&path) {
            if secret.len() != 32 {
                bail!(
                    "{} does not hold 32 bytes: the data folder was left half written; choose another",
                    path.display()
                );
            }
            return Ok(Self { secret });
        }
        let mut secret = vec![0; 32];
        aws_lc_rs::rand::fill(&mut secret).ok().context("the system gives no randomness")?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        file.write_all(&secret)
            .and_then(|()| file.sync_all())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { secret })
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        sha256(&[&self.secret, purpose.as_bytes()])
    }

    /// What the bearers of the calls to a participant are minted under.
    pub(crate) fn call(&self, participant: &str) -> Result<token::Key> {
        Ok(token::Key::new(&self.derive(&format!("call:{participant}")))?)
    }

    /// What the keys of sagas' sensitive input are sealed with.
    pub(crate) fn keyring(&self) -> Keyring {
        Keyring::new(KID, self.derive("seal"))
    }

    /// What a service signs its entity tags with.
    pub(crate) fn etag(&self, service: &str) -> [u8; 32] {
        self.derive(&format!("etag:{service}"))
    }

    /// Verifies the tokens of users.
    pub(crate) fn verifier(&self, clock: Arc<dyn Clock>) -> Result<Verifier> {
        let key = Key::hs256(KID, &self.derive("users"))?;
        Ok(Verifier::new(ISSUER, AUDIENCE, vec![key], clock)?)
    }

    /// A token of a user.
    pub(crate) fn mint(&self, clock: Arc<dyn Clock>, user: &str, permissions: &[&str]) -> Result<String> {
        let minter = Minter::new(KID, &self.derive("users"), ISSUER, AUDIENCE, clock)?;
        Ok(minter.mint(user, permissions.iter().copied(), LIFETIME))
    }
}
