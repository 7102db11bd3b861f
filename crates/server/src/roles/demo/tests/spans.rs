//! Each step is a span, as the specification names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::*;

type Fields = BTreeMap<&'static str, String>;

/// Keeps the fields of all spans `saga.step` of one thread, in the order of their begin, each with its id.
#[derive(Clone)]
struct Spans {
    of: ThreadId,
    kept: Arc<Mutex<Vec<(Id, Fields)>>>,
}

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().name() == "saga.step" && thread::current().id() == self.of {
            let mut fields = Fields::new();
            attributes.record(&mut Into(&mut fields));
            self.kept.lock().unwrap().push((id.clone(), fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if thread::current().id() != self.of {
            return;
        }
        // Ids are used again: the latest is the one that is open.
        if let Some((_, fields)) = self.kept.lock().unwrap().iter_mut().rev().find(|(kept, _)| kept == id) {
            values.record(&mut Into(fields));
        }
    }
}

/// In one thread, so that the spans of the tests beside it are not its own. The subscriber is the process's: whether a
/// span is wanted at all is decided once for all threads, by whichever comes first.
#[tokio::test]
async fn each_step_is_a_span_with_the_names_of_the_specification() {
    let spans = Spans { of: thread::current().id(), kept: Arc::default() };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(spans.clone())).unwrap();
    let world = World::with(20, 0.9, |router| router).await;
    world.replay().await;
    assert!(world.rest(REST).await);
    world.end().await;

    let spans = spans.kept.lock().unwrap();
    let mut names = BTreeSet::new();
    let mut statuses = BTreeSet::new();
    for (_, span) in spans.iter() {
        let step = &span["saga.step"];
        assert_eq!(span["otel.name"], format!("saga.step.{step}"));
        assert!(span["saga.id"].parse::<steadfast_core::SagaId>().is_ok(), "{span:?}");
        assert!(span["saga.attempt"].parse::<u32>().unwrap() >= 1, "{span:?}");
        let status = span.get("otel.status_code").map_or("unset", String::as_str);
        if status == "ERROR" {
            assert!(!span["otel.status_description"].is_empty(), "{span:?}");
            assert!(!span["exception.message"].is_empty(), "{span:?}");
        } else {
            assert_eq!(status, "OK", "{span:?}");
        }
        names.insert(step.as_str());
        statuses.insert(status);
    }
    let steps = ["create_order", "process_payment", "reserve_inventory", "commit_stock", "confirm_order"];
    assert!(steps.iter().all(|step| names.contains(step)), "{names:?}");
    assert_eq!(statuses, ["ERROR", "OK"].into());
    assert!(spans.iter().any(|(_, span)| span["saga.attempt"] == "2"), "a lost reply is a second attempt");
}
