//! Ten times what the platform carries, from clients that respect nothing: each order is sent once, under a key of its own,
//! whatever was answered to the others. What must hold meanwhile and afterwards stands beside what was measured.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use comfy_table::{Cell, CellAlignment, Table};
use goodgo_pos::check::Stores;
use goodgo_pos::client::{Answer, Client, Limits};
use serde::Serialize;
use steadfast_core::Clock;
use steadfast_host::clock::System;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::orders::{Shop, saga_of};
use super::{moments, rest};
use crate::bench::load::Run;
use crate::bench::{report, usage};
use crate::roles::front::{Front, Opened};

/// How many times the peak is offered.
const TIMES: f64 = 10.0;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at memory.
const LOOK: Duration = Duration::from_secs(2);
/// Single orders before the overload, whose slowest tells what is normal.
const CALM: usize = 20;
/// Between two single orders after it, how many in a row must be normal again, and how long that is waited for.
const TICK: Duration = Duration::from_millis(500);
const IN_A_ROW: usize = 3;
const GIVE_UP: Duration = Duration::from_mins(2);

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Aim {
    AtLeast(f64),
    AtMost(f64),
}

/// One line of what was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(clippy::struct_field_names, reason = "the name of the field in JSON, as in the other benches")]
pub(super) struct Figure {
    work: &'static str,
    figure: String,
    measured: f64,
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    aim: Option<Aim>,
}

/// How many answers of each kind there were.
#[derive(Debug, Default)]
struct Tally {
    /// The sagas that were begun, and after how long that was answered.
    accepted: Vec<([u8; 16], Duration)>,
    /// After how long 429 and 503 were answered.
    refused: Vec<Duration>,
    too_many: u64,
    unavailable: u64,
    without_retry_after: u64,
    /// What the refusals said.
    why: BTreeMap<String, u64>,
    /// Other answers, and none.
    other: BTreeMap<String, u64>,
}

impl Tally {
    fn add(&mut self, answer: Result<Answer, String>, took: Duration) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return *self.other.entry(fault).or_default() += 1,
        };
        match answer.status.as_u16() {
            status @ (429 | 503) => {
                *(if status == 429 { &mut self.too_many } else { &mut self.unavailable }) += 1;
                *self.why.entry(format!("{status}: {}", answer.detail())).or_default() += 1;
                self.without_retry_after += u64::from(answer.header("retry-after").is_none());
                self.refused.push(took);
            }
            status => match saga_of(&answer) {
                Some(saga) => self.accepted.push((saga, took)),
                None => *self.other.entry(format!("status {status}")).or_default() += 1,
            },
        }
    }
}

/// What a run has shown beside its answers.
#[derive(Debug)]
struct Seen {
    peak: f64,
    offered: f64,
    length: Duration,
    /// Orders that were settled during the overload.
    settled: usize,
    /// Orders that were accepted and never settled.
    lost: usize,
    /// CPU seconds of the clients.
    cpu: f64,
    /// What a single order may take.
    normal: Duration,
    /// How long after the overload single orders were normal again.
    again: Option<Duration>,
    /// The highest of each replica that was watched, in MiB.
    memory: BTreeMap<String, f64>,
}

/// Overloads a platform at rest whose peak is known, and waits until it is at rest again.
pub(super) async fn measure(
    front: &Front,
    opened: &Opened,
    stores: &Stores,
    shop: &Shop,
    peak: f64,
    length: Duration,
) -> Result<Vec<Figure>> {
    let normal = calm(shop).await? * 2;
    let (done, offered) = (CancellationToken::new(), peak * TIMES);
    let (begun, cpu) = (System.now(), usage::cpu_seconds());
    let offering = async {
        let running = offer(shop, offered, length).await;
        done.cancel();
        running
    };
    let (running, memory) = tokio::join!(offering, highest(front, &done));
    let (over, cpu) = (System.now(), usage::cpu_seconds() - cpu);
    let again = recovery(shop, normal).await;
    let mut tally = Tally::default();
    for (answer, took) in running.join_all().await {
        tally.add(answer, took);
    }
    rest(stores).await?;

    let ends = moments::ends(opened, &shop.run).await?;
    let meanwhile = begun.as_millis()..over.as_millis();
    let settled = ends.values().filter(|(_, at)| meanwhile.contains(at)).count();
    let lost = tally.accepted.iter().filter(|(saga, _)| !ends.contains_key(&saga[..])).count();
    let length = over.since(begun);
    Ok(figures(&Seen { peak, offered, length, settled, lost, cpu, normal, again, memory }, tally))
}

/// The slowest of some single orders.
async fn calm(shop: &Shop) -> Result<Duration> {
    let mut slowest = Duration::ZERO;
    for _ in 0..CALM {
        let took = shop.one().await.context("a single order before the overload")?;
        slowest = slowest.max(took);
    }
    Ok(slowest)
}

type Sending = JoinSet<(Result<Answer, String>, Duration)>;

/// Sends at this rate, whatever comes back. What is still under way then is left to be waited for.
async fn offer(shop: &Shop, per_s: f64, length: Duration) -> Sending {
    let client = Client::new(Limits { time: PATIENCE, kept: 4_096, ..Limits::default() });
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_s));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (begun, mut running) = (Instant::now(), JoinSet::new());
    while begun.elapsed() < length {
        ticks.tick().await;
        let (client, request) = (client.clone(), shop.request(false));
        running.spawn(async move {
            let begun = Instant::now();
            let answer = client.send(&request).await.map_err(|error| error.to_string());
            (answer, begun.elapsed())
        });
    }
    running
}

/// The most memory that each orchestrator and each relay had until `stop`.
async fn highest(front: &Front, stop: &CancellationToken) -> BTreeMap<String, f64> {
    let mut highest = BTreeMap::<String, f64>::new();
    let mut ticks = interval(LOOK);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        for (replica, memory) in front.memory_of(&["orchestrator", "relay"]).await {
            let known = highest.entry(replica).or_default();
            *known = known.max(memory);
        }
    }
    highest
}

/// How long it takes until single orders are completed in normal time again, the first of some in a row; `None` where that
/// never came.
async fn recovery(shop: &Shop, normal: Duration) -> Option<Duration> {
    let over = Instant::now();
    let mut since: Option<(Duration, usize)> = None;
    while over.elapsed() < GIVE_UP {
        let sent = over.elapsed();
        // One that was refused or did not complete is not normal.
        let well = shop.one().await.is_ok_and(|took| took <= normal);
        since = well.then(|| since.map_or((sent, 1), |(first, count)| (first, count + 1)));
        if let Some((first, IN_A_ROW)) = since {
            return Some(first);
        }
        sleep(TICK.saturating_sub(over.elapsed().saturating_sub(sent))).await;
    }
    None
}

impl Figure {
    fn new(figure: impl Into<String>, measured: f64) -> Self {
        Self { work: "overload", figure: figure.into(), measured, aim: None }
    }

    fn aims(self, aim: Aim) -> Self {
        Self { aim: Some(aim), ..self }
    }

    fn is_missed(&self) -> bool {
        match self.aim {
            None => false,
            // What could not be measured is not held either.
            Some(Aim::AtLeast(least)) => self.measured.is_nan() || self.measured < least,
            Some(Aim::AtMost(most)) => self.measured.is_nan() || self.measured > most,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a minute")]
fn figures(seen: &Seen, mut tally: Tally) -> Vec<Figure> {
    let seconds = seen.length.as_secs_f64();
    let goodput = seen.settled as f64 / seconds;
    let answered = |mut latencies: Vec<Duration>, of: usize| {
        latencies.sort_unstable();
        Run { latencies, ..Run::default() }.quantile_ms(of)
    };
    let accepted: Vec<Duration> = tally.accepted.iter().map(|(_, took)| *took).collect();
    let refused = std::mem::take(&mut tally.refused);
    let other: u64 = tally.other.values().sum();
    let mut figures = vec![
        Figure::new("peak, orders/s", seen.peak),
        Figure::new("offered, orders/s", seen.offered),
        Figure::new("sent, orders/s", (accepted.len() + refused.len()) as f64 / seconds + other as f64 / seconds),
        Figure::new("accepted, orders/s", accepted.len() as f64 / seconds),
        Figure::new("goodput, orders/s settled", goodput),
        Figure::new("goodput of peak", goodput / seen.peak).aims(Aim::AtLeast(0.9)),
        Figure::new("answered 429", tally.too_many as f64),
        Figure::new("answered 503", tally.unavailable as f64),
        Figure::new("429 and 503 without Retry-After", tally.without_retry_after as f64).aims(Aim::AtMost(0.0)),
        Figure::new("other answers, and none", other as f64).aims(Aim::AtMost(0.0)),
        Figure::new("accepted and never settled", seen.lost as f64).aims(Aim::AtMost(0.0)),
        Figure::new("accepted p50, ms", answered(accepted.clone(), 50)),
        Figure::new("accepted p99, ms", answered(accepted, 99)),
        Figure::new("refused p50, ms", answered(refused.clone(), 50)),
        Figure::new("refused p99, ms", answered(refused, 99)),
        Figure::new("CPU of the clients, cores", seen.cpu / seconds),
        Figure::new("normal for a single order, ms", seen.normal.as_secs_f64() * 1e3),
        Figure::new("normal again after, s", seen.again.map_or(f64::NAN, |it| it.as_secs_f64()))
            .aims(Aim::AtMost(10.0)),
    ];
    for (service, most) in [("orchestrator", 512.0), ("relay", 256.0)] {
        let of = seen.memory.iter().filter(|(replica, _)| replica.starts_with(service)).map(|(_, memory)| *memory);
        let highest = of.fold(f64::NAN, f64::max);
        figures.push(Figure::new(format!("memory of the largest {service}, MiB"), highest).aims(Aim::AtMost(most)));
    }
    let told = tally.why.into_iter().chain(tally.other);
    figures.extend(told.map(|(what, count)| Figure::new(what, count as f64)));
    figures
}

/// Prints what was measured, and fails where an aim was missed.
pub(super) fn print(figures: &[Figure], json: bool) -> Result<()> {
    report::show(figures, json, table)?;
    let missed: Vec<&str> = figures.iter().filter(|it| it.is_missed()).map(|it| it.figure.as_str()).collect();
    ensure!(missed.is_empty(), "not as it must be under ten times the load: {}", missed.join("; "));
    Ok(())
}

fn table(figures: &[Figure]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["overload", "aim", "measured", "held"]);
    for figure in figures {
        let (aim, held) = match figure.aim {
            None => (String::new(), ""),
            Some(aim) => {
                let (word, bound) = match aim {
                    Aim::AtLeast(bound) => ("at least", bound),
                    Aim::AtMost(bound) => ("at most", bound),
                };
                (format!("{word} {bound}"), if figure.is_missed() { "no" } else { "yes" })
            }
        };
        let measured = Cell::new(format!("{:.2}", figure.measured)).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(&figure.figure), Cell::new(aim), measured, Cell::new(held)]);
    }
    table
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn answer(status: u16, retry_after: bool, body: &'static str) -> Answer {
        let mut headers = HeaderMap::new();
        if retry_after {
            headers.insert("retry-after", HeaderValue::from_static("1"));
        }
        Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()) }
    }

    fn seen() -> Seen {
        Seen {
            peak: 50.0,
            offered: 500.0,
            length: Duration::from_secs(10),
            settled: 480,
            lost: 0,
            cpu: 1.0,
            normal: Duration::from_millis(60),
            again: Some(Duration::from_secs(4)),
            memory: BTreeMap::from([("orchestrator a".to_owned(), 90.0), ("relay b".to_owned(), 60.0)]),
        }
    }

    fn missed(seen: &Seen, tally: Tally) -> Vec<String> {
        figures(seen, tally).into_iter().filter(Figure::is_missed).map(|it| it.figure).collect()
    }

    #[test]
    fn every_answer_is_counted_as_what_it_is() {
        let mut tally = Tally::default();
        let took = Duration::from_millis(3);
        tally.add(Ok(answer(202, false, r#"{"saga_id":"00000000-0000-8000-8000-000000000001"}"#)), took);
        tally.add(Ok(answer(429, true, "")), took);
        tally.add(Ok(answer(503, false, "")), took);
        tally.add(Ok(answer(500, false, "")), took);
        tally.add(Ok(answer(202, false, "")), took);
        tally.add(Err("cut".to_owned()), took);
        assert_eq!((tally.accepted.len(), tally.refused.len(), tally.too_many, tally.unavailable), (1, 2, 1, 1));
        assert_eq!(tally.without_retry_after, 1);
        assert_eq!(
            tally.other.into_iter().collect::<Vec<_>>(),
            [("cut".to_owned(), 1), ("status 202".to_owned(), 1), ("status 500".to_owned(), 1)]
        );
    }

    #[test]
    fn each_aim_can_be_missed_and_what_could_not_be_measured_is() {
        assert_eq!(missed(&seen(), Tally::default()), [""; 0]);
        let of = |change: fn(&mut Seen)| {
            let mut seen = seen();
            change(&mut seen);
            missed(&seen, Tally::default())
        };
        assert_eq!(of(|seen| seen.settled = 440), ["goodput of peak"]);
        assert_eq!(of(|seen| seen.lost = 1), ["accepted and never settled"]);
        assert_eq!(of(|seen| seen.again = None), ["normal again after, s"]);
        assert_eq!(of(|seen| seen.again = Some(Duration::from_secs(11))), ["normal again after, s"]);
        assert_eq!(of(|seen| *seen.memory.get_mut("relay b").unwrap() = 300.0), ["memory of the largest relay, MiB"]);
        let none = "memory of the largest orchestrator, MiB";
        assert_eq!(of(|seen| seen.memory.retain(|name, _| name != "orchestrator a")), [none]);
        let mut tally = Tally::default();
        tally.add(Ok(answer(503, false, "")), Duration::ZERO);
        tally.add(Ok(answer(504, true, "")), Duration::ZERO);
        assert_eq!(missed(&seen(), tally), ["429 and 503 without Retry-After", "other answers, and none"]);
    }

    #[test]
    fn the_table_says_aim_and_whether_it_is_held() {
        let text = table(&figures(&Seen { settled: 440, ..seen() }, Tally::default())).to_string();
        let row = text.lines().find(|line| line.contains("goodput of peak")).unwrap();
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(cells[1..5], ["goodput of peak", "at least 0.9", "0.88", "no"], "{text}");
    }
}
