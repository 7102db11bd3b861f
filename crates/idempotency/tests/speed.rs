//! Generous bounds that a mistake in kind would break, not a benchmark. The figures are printed.

use std::sync::Arc;

use ::http::StatusCode;
use steadfast_idempotency::{Answer, Decision, Owner, RecordId, Report};
use tokio::time::Instant;

use crate::support::{claim, memory, sqlite};

fn nth(number: u64) -> steadfast_idempotency::Claim {
    let mut claim = claim("", 0, "a", false);
    claim.id = RecordId::derive("s", "u", &number.to_string());
    let mut token = [0; 16];
    token[..8].copy_from_slice(&number.to_be_bytes());
    claim.owner = Owner::from_bytes(token);
    claim
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_is_cheap_and_claims_share_commits() {
    let answer = Arc::new(Answer::new(StatusCode::CREATED).with_body(vec![b'x'; 200]));
    let (memory, sqlite) = (memory(), sqlite().await);
    let claims: Vec<_> = (0..100_000).map(nth).collect();
    let start = Instant::now();
    for claim in &claims {
        assert!(matches!(memory.store.claim(claim).await.unwrap(), Decision::Execute { .. }));
    }
    let claimed = start.elapsed();
    let done = Report::Complete(Arc::clone(&answer));
    memory.store.report(claims[7].id, claims[7].owner, done, claims[7].ttl).await.unwrap();
    let start = Instant::now();
    for _ in 0..100_000 {
        assert!(matches!(memory.store.claim(&claims[7]).await.unwrap(), Decision::Replay(_)));
    }
    let replayed = start.elapsed();
    println!("memory: claim {} ns, replay {} ns", claimed.as_nanos() / 100_000, replayed.as_nanos() / 100_000);
    assert!(replayed.as_millis() < 1_000 && claimed.as_millis() < 2_000);

    let rounds: u32 = 4_000;
    let mut all = tokio::task::JoinSet::new();
    let start = Instant::now();
    for lane in 0..200_u32 {
        let (store, answer) = (Arc::clone(&sqlite.store), Arc::clone(&answer));
        all.spawn(async move {
            for number in 0..rounds / 200 {
                let claim = nth(u64::from(lane * rounds + number));
                assert!(matches!(store.claim(&claim).await.unwrap(), Decision::Execute { .. }));
                store.report(claim.id, claim.owner, Report::Complete(Arc::clone(&answer)), claim.ttl).await.unwrap();
            }
        });
    }
    all.join_all().await;
    let spent = start.elapsed();
    println!("sqlite: {:.0} claims and completions a second", f64::from(rounds) / spent.as_secs_f64());
    assert!(spent.as_secs() < 10, "as slow as one commit for each: {spent:?}");
}
