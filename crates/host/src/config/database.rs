//! How a configuration names PostgreSQL. Words only: who connects is elsewhere.

use secrecy::SecretString;
use serde::Deserialize;

use super::{Fault, Secret};

/// `[database]`: PostgreSQL.
#[derive(Clone, Debug, Deserialize)]
pub struct Database {
    /// `postgres://user@host:port/database`, with `?sslmode=verify-full` where it leaves the host. No password.
    url: String,
    /// The user's password; without it the server is asked with what PGPASSWORD or the password file say.
    #[serde(default)]
    password: Option<Secret>,
    /// Connections of the pool.
    #[serde(default = "connections")]
    connections: u32,
}

const fn connections() -> u32 {
    16
}

impl Database {
    /// Whether what is written at this place of the configuration can be a database.
    ///
    /// # Errors
    /// It names no PostgreSQL, or holds a password.
    pub fn check(&self, place: &str) -> Result<(), Fault> {
        let fault = |what: String| Fault::new(what).at(&format!("{place}.url"), None);
        let credentials = self.url.split_once("://").and_then(|(_, rest)| rest.split_once('@')).map(|(user, _)| user);
        if credentials.is_some_and(|user| user.contains(':')) {
            let way = format!("holds a password: take it out and set {place}.password from a file or variable");
            return Err(fault(way));
        }
        if !self.url.starts_with("postgres://") && !self.url.starts_with("postgresql://") {
            return Err(fault("names no PostgreSQL: write postgres://user@host:port/database".to_owned()));
        }
        Ok(())
    }

    /// The URL, as what connects takes it.
    pub fn url(&self) -> SecretString {
        self.url.clone().into()
    }

    /// The password, where it is not left to the environment.
    pub fn password(&self) -> Option<SecretString> {
        self.password.as_ref().map(|password| password.expose().trim().to_owned().into())
    }

    /// Connections of the pool.
    pub fn connections(&self) -> u32 {
        self.connections
    }
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::*;

    fn check(url: &str) -> Result<(), String> {
        let text = format!("url = '{url}'");
        let database = Source::new().text("shop.toml", &text).unwrap().load::<Database>().unwrap().value;
        database.check("database").map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_database_is_postgresql_and_its_url_holds_no_password() {
        check("postgres://shop@db/shop").unwrap();
        let error = check("postgres://shop:secret@db/shop").unwrap_err();
        assert!(error.starts_with("database.url holds a password") && !error.contains("secret@"), "{error}");
        assert!(check("mysql://shop@db/shop").unwrap_err().starts_with("database.url names no PostgreSQL"));
    }
}
