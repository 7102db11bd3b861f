//! Checks through the Redis store: keys that are new, keys whose answer is known, and whole lives of a record.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use http::StatusCode;
use steadfast_idempotency::redis::Redis;
use steadfast_idempotency::{Answer, Claim, Decision, Fingerprint, Owner, RecordId, Report, Store};

use super::WORK;
use super::plain_set::{CLIENTS, Limit};
use super::server::Server;
use crate::bench::beside::{Pace, alternate, line, timed};
use crate::bench::load::{Run, Work};
use crate::bench::report::Line;

/// What a client does with a record.
#[derive(Clone, Copy, Debug)]
enum Check {
    New,
    Known,
    Whole,
}

impl Check {
    const fn name(self) -> &'static str {
        match self {
            Self::New => "new keys",
            Self::Known => "replays",
            Self::Whole => "claim and completion",
        }
    }
}

pub(super) async fn measure(server: &Server, pace: &Pace) -> Result<Vec<Line>> {
    let store = Arc::clone(&server.store);
    let known = claim(u64::MAX);
    let answer = Arc::new(Answer::new(StatusCode::CREATED).with_body(vec![b'x'; 200]));
    store.claim(&known).await?;
    store.report(known.id, known.owner, Report::Complete(Arc::clone(&answer)), known.ttl).await?;

    let limit = Limit::choose(server).await;
    // How much redis-benchmark must be told to send for so long.
    let per_s = limit.run(pace.warming(), 20_000.0).await?.per_s;
    let run = async |check: Check, length: Duration| -> Result<Run> {
        let client = |_| Client { store: Arc::clone(&store), check, known: known.clone(), answer: Arc::clone(&answer) };
        timed((0..CLIENTS).map(client).collect(), length).await
    };
    run(Check::Whole, pace.warming()).await?;
    let mut lines = Vec::new();
    for check in [Check::New, Check::Known, Check::Whole] {
        let ours = async || run(check, pace.length()).await;
        let (ours, plain) = alternate(pace.rounds, ours, async || limit.run(pace.length(), per_s).await).await?;
        let setting = format!("{}, {}, beside {}, {CLIENTS} at once", server.name(), check.name(), limit.name());
        lines.push(line(WORK, setting, &ours, &plain));
    }
    Ok(lines)
}

fn claim(number: u64) -> Claim {
    Claim {
        id: RecordId::derive("bench", "bench", &number.to_string()),
        scope: "bench".into(),
        subject: "bench".into(),
        login: None,
        forgotten: false,
        fingerprint: Fingerprint::of_data(b"{}"),
        owner: Owner::from_bytes((u128::from(number)).to_be_bytes()),
        lease: Duration::from_secs(30),
        // Long enough for any run; what an interrupted one leaves behind goes by itself.
        ttl: Duration::from_hours(1),
        take_over: true,
    }
}

struct Client {
    store: Arc<Redis>,
    check: Check,
    known: Claim,
    answer: Arc<Answer>,
}

impl Work for Client {
    async fn once(&mut self) -> Result<()> {
        if matches!(self.check, Check::Known) {
            let decision = self.store.claim(&self.known).await?;
            ensure!(matches!(decision, Decision::Replay(_)), "a known key was not replayed: {decision:?}");
            return Ok(());
        }
        let new = claim(fastrand::u64(..u64::MAX));
        let decision = self.store.claim(&new).await?;
        ensure!(matches!(decision, Decision::Execute { .. }), "a new key was not new: {decision:?}");
        if matches!(self.check, Check::Whole) {
            self.store.report(new.id, new.owner, Report::Complete(Arc::clone(&self.answer)), new.ttl).await?;
        }
        Ok(())
    }
}
