//! Logs: to stderr, for people or for machines.

use std::io::{self, IsTerminal};

use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::Error;

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// For people; in colour on a terminal, unless `NO_COLOR` is set.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Sends the log to stderr from now on. `filter` is like `info` or `warn,steadfast_saga=debug`. Once in a process.
pub fn init(format: Format, filter: &str) -> Result<(), Error> {
    let colour = colours(std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty()), io::stderr().is_terminal());
    let subscriber = subscriber(format, filter, colour, io::stderr)?;
    subscriber.try_init().map_err(|_| Error::Installed("a tracing subscriber"))
}

/// Whether to use colours (no-color.org).
fn colours(no_color: bool, terminal: bool) -> bool {
    terminal && !no_color
}

fn subscriber<W>(
    format: Format,
    filter: &str,
    colour: bool,
    writer: W,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let parsed = EnvFilter::try_new(filter).map_err(|source| Error::Filter { filter: filter.to_owned(), source })?;
    let registry = tracing_subscriber::registry().with(parsed);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(colour);
    Ok(match format {
        Format::Human => Box::new(registry.with(layer.compact())),
        Format::Json => Box::new(registry.with(layer.json().flatten_event(true).with_span_list(false))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log(format: Format, filter: &str, colour: bool) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(format, filter, colour, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let span = tracing::info_span!("request", route = "/v1/orders");
            let _inside = span.enter();
            tracing::info!(count = 3, "hello");
            tracing::debug!("hidden");
        });
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_for_machines_is_one_json_object() {
        let text = log(Format::Json, "info", false);
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!((&line["message"], &line["count"], &line["level"]), (&"hello".into(), &3.into(), &"INFO".into()));
        assert_eq!(line["span"]["route"], "/v1/orders");
    }

    #[test]
    fn a_line_for_people_has_colours_only_where_they_are_wanted() {
        assert!(
            log(Format::Human, "info", false).contains("hello") && !log(Format::Human, "info", false).contains('\x1b')
        );
        assert!(log(Format::Human, "info", true).contains('\x1b'));
        assert!(colours(false, true) && !colours(true, true) && !colours(false, false));
    }

    #[test]
    fn the_filter_holds_back_and_a_bad_one_is_named() {
        assert!(!log(Format::Human, "info", false).contains("hidden"));
        assert!(log(Format::Human, "debug", false).contains("hidden"));
        let error = subscriber(Format::Human, "steadfast=loud", false, io::sink).err().unwrap();
        assert!(error.to_string().contains("\"steadfast=loud\""), "{error}");
    }
}
