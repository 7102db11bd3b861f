//! What the operator says of participants, checked.

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, Uri};
use serde::{Deserialize, Deserializer};
use steadfast_core::StepKey;

use super::address::{self, Allowance, Net};
use crate::participant::token::Key;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const CONCURRENCY: usize = 128;
const CONCURRENCY_MAX: usize = 4096;

/// One participant.
#[derive(Clone, Debug)]
pub struct ParticipantConfig {
    /// The name by which definitions know it.
    pub name: String,
    /// Where it is: `http://host:port` or `https://host:port`, and perhaps a path. Calls go to them in turn, and to the next where one does not
    /// take them.
    pub base_urls: Vec<String>,
    /// The key that it shares with the orchestrator.
    pub key: Key,
    /// It guards its effects by a barrier.
    pub barrier: bool,
    /// Calls at a time, and so connections to each base URL.
    pub concurrency: usize,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long it remembers keys.
    pub idempotency_ttl: Option<Duration>,
    /// The path of a GET that tells whether an action was done, with `{saga}`, `{step}` and `{key}` in it.
    pub probe: Option<String>,
    /// Addresses (`169.254.10.1`) and networks (`fe80::/10`) that are allowed although the rules refuse them.
    pub allow: Vec<String>,
    /// How `https` connections are secured.
    pub tls: TlsSettings,
}

/// How connections to a participant are secured. Without any of it the certificates of this machine are trusted and none is
/// shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// A PEM file of the roots to trust, in place of those of this machine.
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate to show, and those between it and its root.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the key of `certificate`.
    pub key: Option<PathBuf>,
}

/// A participant as it stands in a configuration file; its name is the table's, its key a secret that the caller brings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// As in [`ParticipantConfig::base_urls`].
    pub base_urls: Vec<String>,
    /// As in [`ParticipantConfig::barrier`]; there is one unless it says otherwise.
    #[serde(default = "yes")]
    pub barrier: bool,
    /// As in [`ParticipantConfig::concurrency`].
    #[serde(default = "concurrency")]
    pub concurrency: usize,
    /// As in [`ParticipantConfig::connect_timeout`]: `500ms`, `1s`.
    #[serde(default = "connect_timeout", deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// As in [`ParticipantConfig::idempotency_ttl`].
    #[serde(default, deserialize_with = "optional_duration")]
    pub idempotency_ttl: Option<Duration>,
    /// As in [`ParticipantConfig::probe`](field@ParticipantConfig::probe).
    #[serde(default)]
    pub probe: Option<String>,
    /// As in [`ParticipantConfig::allow`].
    #[serde(default)]
    pub allow: Vec<String>,
    /// As in [`ParticipantConfig::tls`].
    #[serde(default)]
    pub tls: TlsSettings,
}

impl Settings {
    /// The participant of this name with this key.
    pub fn named(self, name: impl Into<String>, key: Key) -> ParticipantConfig {
        ParticipantConfig {
            name: name.into(),
            base_urls: self.base_urls,
            key,
            barrier: self.barrier,
            concurrency: self.concurrency,
            connect_timeout: self.connect_timeout,
            idempotency_ttl: self.idempotency_ttl,
            probe: self.probe,
            allow: self.allow,
            tls: self.tls,
        }
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("participants.{participant}.{field}: {fault}: {way_out}")]
pub struct ConfigFault {
    /// The participant.
    pub participant: String,
    /// The field.
    pub field: &'static str,
    /// What is wrong.
    pub fault: String,
    /// What to do.
    pub way_out: String,
}

impl ConfigFault {
    pub(super) fn new(participant: &str, field: &'static str, fault: impl Into<String>, way_out: &str) -> Self {
        Self { participant: participant.to_owned(), field, fault: fault.into(), way_out: way_out.to_owned() }
    }
}

/// A base URL, taken apart.
#[derive(Debug)]
pub(super) struct Base {
    /// Name or address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) host_header: HeaderValue,
    /// What stands before every path; empty, or with a slash at the front and none at the end.
    pub(super) prefix: String,
    pub(super) allowance: Allowance,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::tls::Tls>,
}

/// The path of a probe.
#[derive(Clone, Debug)]
pub(super) struct Probe(String);

impl Probe {
    pub(super) fn path(&self, key: &StepKey) -> String {
        // Of ids, steps and colons only: nothing that a path must escape.
        self.0.replace("{key}", &key.to_string()).replace("{saga}", &key.saga.to_string()).replace("{step}", &key.step)
    }
}

pub(super) struct Checked {
    pub(super) bases: Vec<Base>,
    pub(super) probe: Option<Probe>,
}

impl ParticipantConfig {
    /// A participant with a barrier at one base URL, and the usual bounds.
    pub fn new(name: impl Into<String>, base_url: impl Into<String>, key: Key) -> Self {
        Self {
            name: name.into(),
            base_urls: vec![base_url.into()],
            key,
            barrier: true,
            concurrency: CONCURRENCY,
            connect_timeout: CONNECT_TIMEOUT,
            idempotency_ttl: None,
            probe: None,
            allow: Vec::new(),
            tls: TlsSettings::default(),
        }
    }

    pub(super) fn check(&self) -> Result<Checked, ConfigFault> {
        if self.name.is_empty() {
            return Err(self.fault("name", "it is empty", "give the participant a name"));
        }
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            let fault = format!("{} calls at a time are not possible", self.concurrency);
            return Err(self.fault("concurrency", fault, "set it to 1 at least and 4096 at most"));
        }
        if self.connect_timeout.is_zero() {
            return Err(self.fault("connect_timeout", "no connection comes about in no time", "set it to 1s"));
        }
        if self.base_urls.is_empty() {
            return Err(self.fault("base_urls", "there is none", "name one, as http://payment.internal:8080"));
        }
        let bases = self.base_urls.iter().map(|url| self.base(url)).collect::<Result<Vec<_>, _>>()?;
        let distinct: HashSet<_> = bases.iter().map(|base| (&base.host, base.port, &base.prefix)).collect();
        if distinct.len() != bases.len() {
            return Err(self.fault("base_urls", "one of them is there twice", "name each once"));
        }
        if self.tls != TlsSettings::default() && self.base_urls.iter().all(|url| url.starts_with("http:")) {
            let fault = "it is set, and no base URL is https";
            return Err(self.fault("tls", fault, "write https:// in `base_urls`, or remove it"));
        }
        Ok(Checked { bases, probe: self.probe()? })
    }

    fn fault(&self, field: &'static str, fault: impl Into<String>, way_out: &str) -> ConfigFault {
        ConfigFault::new(&self.name, field, fault, way_out)
    }

    fn base(&self, url: &str) -> Result<Base, ConfigFault> {
        let wrong = |fault: &str, way_out: &str| self.fault("base_urls", format!("{fault} in {url:?}"), way_out);
        let form = "write it as http://host:port or http://host:port/path";
        // What stands before an @ may be a password, which no message may show.
        if url.contains('@') {
            return Err(self.fault("base_urls", "credentials in a URL", "take them out: the key authenticates calls"));
        }
        let uri: Uri = url.parse().map_err(|_| wrong("no URL", form))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") if cfg!(feature = "tls") => true,
            Some("https") => {
                return Err(wrong(
                    "TLS, which this build does not speak,",
                    "use http:// to a TLS proxy beside the orchestrator, or to the participant within a trusted network",
                ));
            }
            _ => return Err(wrong("no scheme", form)),
        };
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else { return Err(wrong("no host", form)) };
        if uri.query().is_some() || url.contains('#') {
            return Err(wrong("a query or fragment", form));
        }
        // `Uri` passes over a port that is no number.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") if secure => 443,
            Some("") => 80,
            rest => rest
                .and_then(|rest| rest.strip_prefix(':')?.parse().ok())
                .filter(|port| *port != 0)
                .ok_or_else(|| wrong("no port", form))?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("no host", form));
        }
        let host_header =
            HeaderValue::from_str(authority.as_str()).map_err(|_| wrong("a host that is no text", form))?;
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Base {
            allowance: self.allowance(&host)?,
            host,
            port,
            host_header,
            prefix,
            #[cfg(feature = "tls")]
            tls: secure.then(|| self.secure()).transpose()?,
        })
    }

    #[cfg(feature = "tls")]
    fn secure(&self) -> Result<super::tls::Tls, ConfigFault> {
        super::tls::Tls::new(&self.tls).map_err(|(field, fault, way_out)| self.fault(field, fault, way_out))
    }

    fn allowance(&self, host: &str) -> Result<Allowance, ConfigFault> {
        let nets = self.allow.iter().map(|text| {
            Net::parse(text).ok_or_else(|| {
                let fault = format!("{text:?} is neither an address nor a network");
                self.fault("allow", fault, "write it as 169.254.10.1 or fe80::/10")
            })
        });
        let literal: Option<IpAddr> = host.parse().ok();
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let loopback =
            name == "localhost" || name.ends_with(".localhost") || literal.is_some_and(|address| address.is_loopback());
        Ok(Allowance { literal, loopback, nets: nets.collect::<Result<_, _>>()? })
    }

    fn probe(&self) -> Result<Option<Probe>, ConfigFault> {
        let Some(template) = &self.probe else { return Ok(None) };
        let bare = template.replace("{key}", "").replace("{saga}", "").replace("{step}", "");
        let names_call = template.contains("{key}") || (template.contains("{saga}") && template.contains("{step}"));
        let is_path = template.starts_with('/')
            && bare.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}<>\"\\^`|#".contains(&byte));
        if is_path && names_call {
            return Ok(Some(Probe(template.clone())));
        }
        Err(self.fault(
            "probe",
            format!("{template:?} is no path that names one action"),
            "write it as /saga/actions/{key} or /saga/{saga}/{step}",
        ))
    }
}

/// Whether an address may be connected to, in words for a log.
pub(super) fn refusal(address: IpAddr, base: &Base) -> Option<String> {
    let fault = address::fault(address, &base.allowance)?;
    Some(format!("{} leads to {address}, which is refused: {fault}; `allow` can list it", base.host))
}

const fn yes() -> bool {
    true
}

const fn concurrency() -> usize {
    CONCURRENCY
}

const fn connect_timeout() -> Duration {
    CONNECT_TIMEOUT
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!("{text:?} is no length of time: write it as 250ms, 30s, 2m, 6h or 7d"))
    })
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}
