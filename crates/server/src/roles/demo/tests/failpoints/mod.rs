//! The order saga on PostgreSQL, with an orchestrator that dies at each point once, and at each pair of points: around every
//! commit of its journal, every takeover, and every call. Whatever happens, the saga ends, its effects took place once, and
//! money, stock and order agree.
//!
//! Some hundreds of sagas, some lives each: half a minute.

mod points;
mod world;

use futures_util::StreamExt;
use futures_util::stream;

use self::points::Points;
use self::world::{Card, World};

/// Worlds that are tried at once.
const AT_ONCE: usize = 8;

/// One saga with these deaths; the points that were passed.
async fn tried(world: &World, card: Card, deaths: Vec<usize>) -> usize {
    let points = Points::new(deaths.clone());
    let end = world.run(card, &points).await;
    let story = || format!("{card:?} with deaths at {deaths:?}: {end:?}\n{:#?}", points.names());
    assert!(end.is_consistent(card), "{}", story());
    points.passed()
}

/// Every single point, then every pair of points; in worlds of their own.
async fn enumerated(card: Card) {
    let plain = tried(&Box::pin(World::new()).await, card, Vec::new()).await;
    assert!(plain > 10, "the points are there: {plain}");
    let mut plans: Vec<Vec<usize>> = (0..plain).map(|first| vec![first]).collect();
    // The second death comes soon after the first, while the next life takes up what it finds, or on its way to the end.
    plans.extend((0..plain).flat_map(|first| (1..5).map(move |gap| vec![first, first + gap])));
    let chunks: Vec<Vec<Vec<usize>>> = plans.chunks(plans.len().div_ceil(AT_ONCE)).map(<[_]>::to_vec).collect();
    let running = stream::iter(chunks).map(|plans| async move {
        let world = Box::pin(World::new()).await;
        for deaths in plans {
            tried(&world, card, deaths).await;
        }
        world.is_whole().await;
    });
    running.buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_completes_dies_at_every_point() {
    Box::pin(enumerated(Card::Good)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_is_compensated_dies_at_every_point() {
    Box::pin(enumerated(Card::GoodForNoStock)).await;
}
