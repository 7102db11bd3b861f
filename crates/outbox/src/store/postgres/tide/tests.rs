//! Cases by hand, and a model: transactions that draw ids and commit when they like, read by a tide as by the database.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const BATCH: usize = 3;
const LIMIT: usize = 8;

/// A row of the model: its transaction ends, or is open.
#[derive(Clone, Copy, Debug)]
struct ModelRow {
    bucket: i16,
    id: i64,
    open: bool,
}

/// A database of which each transaction draws one id, and whose transaction ids are those ids.
struct World {
    tide: Tide,
    rows: Vec<ModelRow>,
    handed: BTreeSet<i64>,
    now: Duration,
}

impl World {
    fn new() -> Self {
        Self { tide: Tide::new(0, 3, 0, 0), rows: vec![], handed: BTreeSet::new(), now: Duration::ZERO }
    }

    fn write(&mut self, bucket: i16, open: bool) {
        let id = i64::try_from(self.rows.len()).unwrap() + 1;
        self.rows.push(ModelRow { bucket, id, open });
    }

    fn commit(&mut self, nth: usize) {
        let open: Vec<_> = (0..self.rows.len()).filter(|at| self.rows[*at].open).collect();
        if let Some(at) = open.get(nth % open.len().max(1)) {
            self.rows[*at].open = false;
        }
    }

    fn read(&mut self) {
        self.now += Duration::from_millis(1);
        if let Some(known) = self.tide.asks_frontier(self.now) {
            let id = i64::try_from(self.rows.len()).unwrap();
            let next = id + 1;
            let oldest = self.rows.iter().find(|row| row.open).map_or(next, |row| row.id);
            self.tide.on_frontier(Frontier { id, proof: (id > known).then_some(next), oldest, today: 0 });
        }
        let look = self.tide.look(self.now);
        let mut found = Vec::new();
        for (bucket, after) in look.buckets.iter().zip(&look.after) {
            let of = self.rows.iter().filter(|row| !row.open && row.bucket == *bucket);
            // Nothing is ever marked here, which is the hardest case for a look that has a limit.
            let some = of.filter(|row| row.id > *after && row.id <= look.upto && !self.handed.contains(&row.id));
            found.extend(some.take(BATCH).map(|row| (*bucket, row.id)));
        }
        found.truncate(LIMIT);
        let is_cut = found.len() >= LIMIT;
        self.handed.extend(found.iter().map(|(_, id)| *id));
        self.tide.found(&look, found.into_iter(), BATCH, is_cut, (self.now, self.now));
        self.check();
    }

    /// What is done is handed out, all of it, for good.
    fn check(&self) {
        for row in self.rows.iter().filter(|row| self.tide.is_done(row.bucket, row.id)) {
            assert!(!row.open && self.handed.contains(&row.id), "{row:?} is passed: {:?}", self.tide);
        }
    }
}

#[test]
fn a_stranger_holds_the_mark_and_nothing_else() {
    let mut world = World::new();
    world.write(0, true);
    for _ in 0..20 {
        world.write(1, false);
    }
    for _ in 0..20 {
        world.read();
    }
    assert_eq!((world.handed.len(), world.tide.low()), (20, 0));
    world.commit(0);
    for _ in 0..3 {
        world.read();
    }
    assert_eq!((world.handed.len(), world.tide.low()), (21, 21));
}

#[test]
fn a_rewind_goes_back_and_forgets_nothing() {
    let mut world = World::new();
    for n in 0..12 {
        world.write(n % 4, false);
    }
    for _ in 0..6 {
        world.read();
    }
    assert_eq!(world.tide.low(), 12);
    world.tide.go(Whence::From(5));
    assert_eq!((world.tide.low(), world.tide.read_to()), (4, 4));
    world.handed.retain(|id| *id < 5);
    for _ in 0..6 {
        world.read();
    }
    assert_eq!((world.handed.len(), world.tide.low()), (12, 12));
}

#[test]
fn days_follow_the_mark() {
    let mut tide = Tide::new(0, 0, 10, 100);
    assert_eq!(tide.day_above(10), 100);
    tide.on_frontier(Frontier { id: 20, proof: None, oldest: 0, today: 101 });
    assert_eq!((tide.day_above(10), tide.day_above(20), tide.day_above(30)), (100, 101, 101));
    let look = tide.look(Duration::ZERO);
    assert_eq!((look.day, look.last_day), (99, 102));
    // A clock that is set back hides nothing that was written before.
    tide.on_frontier(Frontier { id: 30, proof: None, oldest: 0, today: 90 });
    assert_eq!(tide.look(Duration::ZERO).last_day, 102);
}

#[test]
fn looking_again_takes_a_part_of_the_time() {
    let mut world = World::new();
    world.write(0, true);
    world.write(1, false);
    world.read();
    let look = world.tide.look(world.now);
    assert!(look.again);
    let took = Duration::from_millis(10);
    world.tide.found(&look, [].into_iter(), BATCH, false, (world.now, world.now + took));
    assert!(!world.tide.look(world.now + took * 19).again);
    assert!(world.tide.look(world.now + took * 20).again);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_passed_and_everything_is_found(ops in prop::collection::vec((0..6_u8, any::<u8>()), 0..200)) {
        let mut world = World::new();
        for (op, value) in ops {
            match op {
                0 | 1 => world.write(i16::from(value % 4), value >= 128),
                2 => world.commit(usize::from(value)),
                3 | 4 => world.read(),
                _ if value < 30 => {
                    let from = i64::from(value);
                    world.tide.go(Whence::From(from));
                    world.handed.retain(|id| *id < from);
                }
                _ => {}
            }
        }
        while world.rows.iter().any(|row| row.open) {
            world.commit(0);
        }
        for _ in 0..world.rows.len() + 10 {
            world.read();
        }
        prop_assert_eq!(world.handed.len(), world.rows.len());
        prop_assert_eq!(world.tide.low(), i64::try_from(world.rows.len()).unwrap());
    }
}
