//! Two sides at once. One is held open in a transaction where it matters; the other must wait for it, and then be right.

use sqlx::Connection as _;
use steadfast_core::{Classified, ErrorKind};
use tokio::task::JoinSet;

use super::*;
use crate::Error;
use crate::journal::Attend;

/// Runs one side until it waits for the other.
async fn waiting<T: Send + 'static>(world: &World, work: impl Future<Output = T> + Send + 'static) -> JoinSet<T> {
    let mut set = JoinSet::new();
    set.spawn(work);
    world.blocked(1).await;
    set
}

async fn outcome<T: 'static>(mut set: JoinSet<T>) -> T {
    set.join_next().await.unwrap().unwrap()
}

fn appending(world: &World, batch: Batch) -> impl Future<Output = Result<Vec<Appended>, Error>> + Send + 'static {
    let journal = Arc::clone(&world.journal);
    async move { journal.append(&batch).await }
}

async fn end(tx: Transaction<'static, Server>, commits: bool) {
    if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
}

#[tokio::test]
async fn an_append_that_waited_for_a_takeover_writes_nothing() {
    let world = World::new().await;
    for commits in [true, false] {
        let lane = world.journal.take_lane(hold("n-1", Duration::ZERO)).await.unwrap();
        let key = format!("a-{commits}");
        let no = world.began(lane, &key).await;
        let mut tx = world.held().await;
        let query = sqlx::query(include_str!("../take_over.sql")).bind(lane.id).bind(lane.epoch).bind("n-2").bind(1e6);
        assert_eq!(query.execute(&mut *tx).await.unwrap().rows_affected(), 1);
        let stale = batch(lane, vec![start(&format!("b-{commits}")), more(&key, no, 2, running())]);
        let append = waiting(&world, appending(&world, stale)).await;
        end(tx, commits).await;
        let answer = outcome(append).await;
        if commits {
            assert!(matches!(answer, Err(Error::Fenced { held, found, .. }) if held < found), "{answer:?}");
            assert_eq!((world.seqs(&key).await, world.seqs("b-true").await), (vec![1], vec![]));
        } else {
            assert_eq!(answer.unwrap()[1], Appended::Written);
        }
    }
}

#[tokio::test]
async fn a_takeover_waits_for_the_append_under_way_and_then_sees_it() {
    let world = World::new().await;
    let lane = world.journal.take_lane(hold("n-1", Duration::ZERO)).await.unwrap();
    let no = world.began(lane, "a").await;
    let mut tx = world.held().await;
    append_in(&mut tx, lane, vec![start("b"), more("a", no, 2, running())]).await;
    let journal = Arc::clone(&world.journal);
    let taking = waiting(&world, async move { journal.take_over(lane, hold("n-2", LONG)).await }).await;
    end(tx, true).await;
    let owner = outcome(taking).await.unwrap().unwrap();
    assert!(owner.epoch > lane.epoch);
    assert_eq!(world.journal.unsettled(lane.id, 0, 10).await.unwrap().len(), 2);
    assert_eq!(world.seqs("a").await, [1, 2]);
}

#[tokio::test]
async fn a_renewal_that_was_faster_is_seen_by_the_taker() {
    let world = World::new().await;
    let lane = world.journal.take_lane(hold("n-1", Duration::ZERO)).await.unwrap();
    world.began(lane, "a").await;
    let mut tx = world.held().await;
    let renew = "update lane_lease set until = clock_timestamp() + interval '1 hour' where lane = $1";
    sqlx::query(renew).bind(lane.id).execute(&mut *tx).await.unwrap();
    let journal = Arc::clone(&world.journal);
    let taking = waiting(&world, async move { journal.take_over(lane, hold("n-2", LONG)).await }).await;
    end(tx, true).await;
    assert_eq!(outcome(taking).await.unwrap(), None);
    // And the other way round: a renewal that waited for the taker renews nothing.
    let lane = world.journal.take_lane(hold("n-1", Duration::ZERO)).await.unwrap();
    let mut tx = world.held().await;
    let query = sqlx::query(include_str!("../take_over.sql")).bind(lane.id).bind(lane.epoch).bind("n-2").bind(1e6);
    query.execute(&mut *tx).await.unwrap();
    let journal = Arc::clone(&world.journal);
    let attending = async move {
        let attend = Attend { hold: hold("n-1", LONG), lanes: &[lane], renew: true, stand: false, count: 0 };
        journal.attend(attend).await
    };
    let attending = waiting(&world, attending).await;
    end(tx, true).await;
    assert_eq!(outcome(attending).await.unwrap().held, Vec::<i64>::new());
}

#[tokio::test]
async fn of_two_starts_of_one_saga_the_second_waits_and_knows_it() {
    let world = World::new().await;
    let [left, right] = [world.take("n-1").await, world.take("n-2").await];
    for commits in [true, false] {
        let key = format!("a-{commits}");
        let mut tx = world.held().await;
        append_in(&mut tx, left, vec![start(&key)]).await;
        let both = batch(right, vec![start(&key), start(&format!("b-{commits}"))]);
        let append = waiting(&world, appending(&world, both)).await;
        end(tx, commits).await;
        let outcomes = outcome(append).await.unwrap();
        assert_eq!(outcomes[0] == Appended::Known, commits, "{outcomes:?}");
        number(outcomes[1]);
        assert_eq!(world.seqs(&key).await, [1]);
    }
}

#[tokio::test]
async fn lanes_with_the_same_starts_in_other_orders_do_not_deadlock() {
    let world = World::new().await;
    let [left, right] = [world.take("n-1").await, world.take("n-2").await];
    for round in 0..30 {
        let keys: Vec<_> = (0..8).map(|index| format!("{round}-{index}")).collect();
        let forward = batch(left, keys.iter().map(|key| start(key)).collect());
        let backward = batch(right, keys.iter().rev().map(|key| start(key)).collect());
        let (one, two) = tokio::join!(world.journal.append(&forward), world.journal.append(&backward));
        let mut two = two.unwrap();
        two.reverse();
        for (one, two) in one.unwrap().into_iter().zip(two) {
            let started = [one, two].into_iter().filter(|outcome| matches!(outcome, Appended::Started(_))).count();
            assert_eq!(started, 1, "{one:?} {two:?}");
        }
    }
}

#[tokio::test]
async fn an_adoption_and_an_append_of_one_saga_are_decided_by_its_row() {
    let world = World::new().await;
    let [first, second] = [world.take("n-1").await, world.take("n-2").await];
    for commits in [true, false] {
        let key = format!("a-{commits}");
        let no = world.began(first, &key).await;
        world.append(first, vec![more(&key, no, 2, ended(Status::Failed))]).await;
        // The adoption is first.
        let mut tx = world.held().await;
        let query = sqlx::query(include_str!("../adopt_saga.sql")).bind(second.id).bind(second.epoch);
        let adopted = query.bind(id(&key).to_string()).fetch_optional(&mut *tx).await.unwrap();
        assert_eq!(rows::saga(&adopted.unwrap()).unwrap().no, no);
        let late = batch(first, vec![more(&key, no, 3, ended(Status::Failed))]);
        let append = waiting(&world, appending(&world, late)).await;
        end(tx, commits).await;
        let expected = if commits { Appended::Elsewhere } else { Appended::Written };
        assert_eq!(outcome(append).await.unwrap(), [expected]);
    }
    // The append is first: its owner has taken the saga up itself.
    let no = world.began(first, "b").await;
    world.append(first, vec![more("b", no, 2, ended(Status::Failed))]).await;
    let mut tx = world.held().await;
    append_in(&mut tx, first, vec![more("b", no, 3, running())]).await;
    let journal = Arc::clone(&world.journal);
    let adopting = waiting(&world, async move { journal.adopt(second, id("b")).await }).await;
    end(tx, true).await;
    assert_eq!(outcome(adopting).await.unwrap(), None, "it runs");
}

#[tokio::test]
async fn a_claim_passes_over_what_another_is_claiming() {
    let world = World::new().await;
    let [first, second] = [world.take("n-1").await, world.take("n-2").await];
    world.append(first, vec![queued("a"), queued("b"), queued("c")]).await;
    let mut tx = world.held().await;
    let query = sqlx::query(include_str!("../claim_sagas.sql")).bind(first.id).bind(first.epoch).bind(2_i64);
    assert_eq!(query.fetch_all(&mut *tx).await.unwrap().len(), 2);
    let claimed = world.journal.claim(second, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.id).collect::<Vec<_>>(), [id("c")], "without waiting");
    let journal = Arc::clone(&world.journal);
    let adopting = waiting(&world, async move { journal.adopt(second, id("a")).await }).await;
    end(tx, true).await;
    assert_eq!(outcome(adopting).await.unwrap(), None, "it was claimed");
    // A claim that waited for its lane's takeover claims nothing.
    world.append(first, vec![queued("d")]).await;
    let mut tx = world.held().await;
    sqlx::query("update lane set epoch = epoch + 1 where id = $1").bind(first.id).execute(&mut *tx).await.unwrap();
    let journal = Arc::clone(&world.journal);
    let claiming = waiting(&world, async move { journal.claim(first, 10).await }).await;
    end(tx, true).await;
    assert_eq!(outcome(claiming).await.unwrap(), []);
    assert_eq!(world.journal.claim(second, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_repetition_waits_for_the_attempt_whose_answer_was_lost() {
    let world = World::new().await;
    let lane = world.take("n-1").await;
    for commits in [true, false] {
        let (old, new) = (format!("a-{commits}"), format!("b-{commits}"));
        let no = world.began(lane, &old).await;
        let rows = || vec![start(&new), more(&old, no, 2, ended(Status::Completed))];
        let mut tx = world.held().await;
        let first = append_in(&mut tx, lane, rows()).await;
        let again = Batch { again: true, ..batch(lane, rows()) };
        let append = waiting(&world, appending(&world, again.clone())).await;
        end(tx, commits).await;
        let answer = outcome(append).await.unwrap();
        assert_eq!(answer == first, commits, "the same numbers, where it stands");
        assert_eq!(world.journal.append(&again).await.unwrap(), answer);
        assert_eq!((world.seqs(&old).await, world.seqs(&new).await), (vec![1, 2], vec![1]));
    }
}

#[tokio::test]
async fn an_append_that_was_given_up_goes_on_at_the_server() {
    let world = World::new().await;
    let lane = world.take("n-1").await;
    let no = world.began(lane, "a").await;
    let mut tx = world.held().await;
    sqlx::query("select from lane where id = $1 for update").bind(lane.id).execute(&mut *tx).await.unwrap();
    let mut lost = batch(lane, vec![more("a", no, 2, running())]);
    let mut append = waiting(&world, appending(&world, lost.clone())).await;
    append.shutdown().await;
    world.blocked(1).await;
    end(tx, true).await;
    wait_for("the row", LIMIT, async || world.seqs("a").await == [1, 2]).await;
    lost.again = true;
    assert_eq!(world.journal.append(&lost).await.unwrap(), [Appended::Written]);
    assert_eq!(world.seqs("a").await, [1, 2]);
}

#[tokio::test]
async fn a_lane_whose_connection_was_ended_goes_on_over_a_new_one() {
    let world = World::new().await;
    let lane = world.take("n-1").await;
    let no = world.began(lane, "a").await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid() and query like '%append_rows%'
            or datname = current_database() and query like '%saga_number%' and pid <> pg_backend_pid()";
    sqlx::query(end).execute(world.db.pool()).await.unwrap();
    let mut lost = batch(lane, vec![more("a", no, 2, running())]);
    let error = world.journal.append(&lost).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
    lost.again = true;
    assert_eq!(world.journal.append(&lost).await.unwrap(), [Appended::Written]);
    assert_eq!(world.seqs("a").await, [1, 2]);
}

/// A process may be stopped in the middle of a repetition, which holds the lane's row.
#[tokio::test]
async fn a_transaction_that_stands_idle_does_not_keep_the_lane() {
    let world = World::new().await;
    let lane = world.journal.take_lane(hold("n-1", Duration::ZERO)).await.unwrap();
    world.began(lane, "a").await;
    let mut connection = world.journal.connection(lane.id + 1).await.unwrap();
    let timeout: String =
        sqlx::query_scalar("show idle_in_transaction_session_timeout").fetch_one(&mut connection).await.unwrap();
    assert_eq!(timeout, "2s");
    // The same, sooner.
    sqlx::raw_sql("set idle_in_transaction_session_timeout = '20ms'").execute(&mut connection).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    sqlx::query(include_str!("../lock_lane.sql")).bind(lane.id).execute(&mut *tx).await.unwrap();
    assert!(world.journal.take_over(lane, hold("n-2", LONG)).await.unwrap().is_some());
    let error = append_rows(&mut tx, &batch(lane, vec![start("b")]), false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient, "{error}");
}
