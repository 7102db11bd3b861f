//! The table of cases that every backend has to pass.

use sqlx::Row;
use steadfast_core::{Classified, ErrorKind, Principal};
use steadfast_locking::{
    Conflict, Entity, Error, EtagKey, Etags, Key, Loser, Reason, Stamp, Star, Subject, Version, replace_all,
};

use super::{ints, shop};

fn version(number: i64) -> Version {
    Version::from_stored(number)
}

fn product() -> Entity {
    Entity::new("product", &["sku"]).unwrap()
}

fn stock() -> Entity {
    Entity::new("stock", &["place", "sku"]).unwrap()
}

#[tokio::test]
async fn a_replace_writes_all_columns_and_returns_the_row() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let saved = product()
        .replace("A", Version::FIRST)
        .set("name", "white lantern")
        .set("price", 1)
        .set("price", 3_390)
        .returning("price, upper(name) as shown")
        .run(&mut tx)
        .await
        .unwrap();
    assert_eq!((saved.version, saved.changed), (version(2), true));
    assert_eq!(
        (saved.row.get::<i64, _>("price"), saved.row.get::<String, _>("shown")),
        (3_390, "WHITE LANTERN".to_owned())
    );
    tx.commit().await.unwrap();
    assert_eq!(ints(&db, "select version, price from product where sku = 'A'").await, [2, 3_390]);
    assert_eq!(
        ints(&db, "select cast(sum(version) as bigint) from product where sku <> 'A'").await,
        [2],
        "and no other row"
    );
}

#[tokio::test]
async fn a_row_at_another_version_is_a_conflict_that_names_it() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    for _ in 0..2 {
        product().replace("A", Version::FIRST).set("name", "x").run(&mut tx).await.ok();
    }
    let error = product().replace("A", Version::FIRST).set("name", "y").run(&mut tx).await.unwrap_err();
    let want = Conflict { entity: "product", key: "A".into(), current: version(2), precondition: false };
    assert!(matches!(&error, Error::Conflict(conflict) if *conflict == want), "{error}");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(error.to_string(), "Version mismatch - data was modified by another user: product A is at version 2");
    let problem = error.to_problem();
    assert_eq!(problem.status, 409);
    assert!(!problem.detail.contains('2'), "a version never leaves in the clear");
}

#[tokio::test]
async fn a_row_that_is_gone_or_never_was_is_not_found() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("delete from product where sku = 'A'").execute(&mut *tx).await.unwrap();
    for key in ["A", "never"] {
        let error = product().replace(key, Version::FIRST).set("name", "y").run(&mut tx).await.unwrap_err();
        assert!(matches!(&error, Error::NotFound { entity: "product", .. }), "{error}");
        assert_eq!(error.to_problem().status, 404);
    }
}

#[tokio::test]
async fn a_row_created_again_is_not_the_one_that_was_read() {
    let db = shop().await;
    let product = Entity::with_epoch("product", &["sku"], "life").unwrap();
    let etags = Etags::new(EtagKey::new("k", &[1; 32]).unwrap());
    let subject = Subject::new("product", "A");
    let mut headers = http::HeaderMap::new();
    headers.insert("if-match", etags.issue(&subject, Stamp { epoch: 0, version: Version::FIRST }));
    headers.append("if-match", etags.issue(&subject, Stamp { epoch: 0, version: version(2) }));
    let expected = etags.if_match(&headers, &subject, Star::Refused).unwrap();
    let mut tx = db.begin().await.unwrap();
    sqlx::raw_sql("delete from product where sku = 'A'; insert into product (sku, life) values ('A', 1)")
        .execute(&mut *tx)
        .await
        .unwrap();
    let error = product.replace("A", expected.clone()).set("name", "y").run(&mut tx).await.unwrap_err();
    assert!(matches!(error, Error::Conflict(Conflict { current: Version::FIRST, precondition: true, .. })), "{error}");
    assert_eq!(error.to_problem().status, 412);
    sqlx::raw_sql("update product set life = 0 where sku = 'A'").execute(&mut *tx).await.unwrap();
    assert_eq!(product.replace("A", expected).set("name", "y").run(&mut tx).await.unwrap().version, version(2));
}

#[tokio::test]
async fn an_edit_by_etag_goes_through_once() {
    let db = shop().await;
    let etags = Etags::new(EtagKey::new("k", &[1; 32]).unwrap());
    let ann = Principal::new("ann", ["edit"]);
    let subject = Subject::new("product", "A").by(&ann);
    let mut headers = http::HeaderMap::new();
    headers.insert("if-match", etags.issue(&subject, Version::FIRST));
    headers.append("if-match", etags.issue(&subject, version(7)));
    let mut tx = db.begin().await.unwrap();
    for status in [200, 412] {
        let expected = etags.if_match(&headers, &subject, Star::Refused).unwrap();
        let answer = product().replace("A", expected).set("price", status).run(&mut tx).await;
        assert_eq!(answer.map_or_else(|error| error.to_problem().status, |_| 200), u16::try_from(status).unwrap());
    }
    let mut any = http::HeaderMap::new();
    any.insert("if-match", http::HeaderValue::from_static("*"));
    let any = etags.if_match(&any, &subject, Star::Allowed).unwrap();
    assert_eq!(product().replace("A", any.clone()).set("price", 9).run(&mut tx).await.unwrap().version, version(3));
    assert!(matches!(product().replace("never", any).set("price", 9).run(&mut tx).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn two_replaces_in_one_transaction_count_two() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let first = product().replace("A", Version::FIRST).set("name", "x").run(&mut tx).await.unwrap();
    let second = product().replace("A", first.version).set("name", "y").run(&mut tx).await.unwrap();
    assert_eq!(second.version, version(3));
    drop(tx);
    assert_eq!(
        ints(&db, "select version from product where sku = 'A'").await,
        [1],
        "a dropped transaction left nothing"
    );
}

#[tokio::test]
async fn a_replace_that_changes_nothing_counts_unless_told_otherwise() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let same = || product().replace("A", Version::FIRST).set("name", "lantern").returning("name");
    let kept = same().keep_if_equal().run(&mut tx).await.unwrap();
    assert_eq!(
        (kept.version, kept.changed, kept.row.get::<String, _>("name")),
        (Version::FIRST, false, "lantern".to_owned())
    );
    let null = product().replace("A", Version::FIRST).set("name", None::<String>).keep_if_equal();
    assert_eq!(null.run(&mut tx).await.unwrap().version, version(2), "to NULL is a change");
    let stale = same().keep_if_equal().run(&mut tx).await.unwrap_err();
    assert_eq!(stale.kind(), ErrorKind::Conflict, "a stale edit is a conflict even when it would change nothing");
    let counted = product().replace("A", version(2)).set("name", None::<String>).run(&mut tx).await.unwrap();
    assert_eq!((counted.version, counted.changed), (version(3), true));
}

#[tokio::test]
async fn a_guard_of_a_replace_refuses_and_a_stale_version_comes_first() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let ship = |at: i64| product().replace("A", version(at)).set("state", "shipped").guard("state = 'open'");
    ship(1).run(&mut tx).await.unwrap();
    assert!(matches!(ship(1).run(&mut tx).await, Err(Error::Conflict(_))));
    let refused = ship(2).run(&mut tx).await.unwrap_err();
    assert!(matches!(refused, Error::Refused { guard: "state = 'open'", .. }), "{refused}");
    assert_eq!(refused.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn edits_of_several_rows_are_all_or_none_and_every_loser_is_named() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let edit = |key: &str, at: i64| product().replace(key, version(at)).set("name", "new");
    let losing = vec![edit("never", 1), edit("B", 5), edit("A", 1), edit("C", 1).guard("state = 'closed'")];
    let error = replace_all(&mut tx, losing).await.unwrap_err();
    let Error::Losers { losers, .. } = &error else { panic!("{error}") };
    let loser = |key: &str, reason| Loser { key: key.into(), reason };
    let want =
        [loser("B", Reason::Conflict(version(1))), loser("C", Reason::Refused), loser("never", Reason::NotFound)];
    assert_eq!(losers, &want);
    assert_eq!(error.kind(), ErrorKind::Refused);
    // The caller's transaction lives on, without a trace of the attempt.
    let changed = replace_all(&mut tx, vec![edit("B", 1), edit("A", 1)]).await.unwrap();
    assert_eq!(changed.iter().map(|row| row.version.get()).collect::<Vec<_>>(), [2, 2]);
    tx.commit().await.unwrap();
    assert_eq!(
        ints(&db, "select cast(sum(version) as bigint), count(*) filter (where name = 'new') from product").await,
        [5, 2]
    );
}

#[tokio::test]
async fn an_adjustment_takes_what_is_there_and_no_more() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let reserve = stock()
        .adjust("reserved = reserved + :n", "on_hand - reserved >= :n")
        .unwrap()
        .returning("on_hand - reserved as free");
    let release = stock().adjust("reserved = reserved - :n", "reserved >= :n").unwrap();
    let key = ("LON", vec![0x0a_u8]);
    let taken = reserve.run(&mut tx, key.clone(), 7).await.unwrap();
    assert_eq!((taken.version, taken.row.get::<i64, _>("free")), (version(2), 3));
    let refused = reserve.run(&mut tx, key.clone(), 4).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { guard: "on_hand - reserved >= :n", .. }), "{refused}");
    assert_eq!((refused.kind(), refused.to_problem().status), (ErrorKind::Refused, 422));
    assert!(matches!(reserve.run(&mut tx, ("LON", vec![9_u8]), 1).await, Err(Error::NotFound { .. })));
    assert!(matches!(release.run(&mut tx, key.clone(), 8).await, Err(Error::Refused { .. })));
    assert_eq!(release.run(&mut tx, key.clone(), 7).await.unwrap().version, version(3), "a refusal counts no version");
    for amount in [0, -1, i64::MIN] {
        assert!(matches!(reserve.run(&mut tx, key.clone(), amount).await, Err(Error::Amount { .. })), "{amount}");
    }
}

#[tokio::test]
async fn adjustments_of_several_rows_are_all_or_none() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let reserve = stock().adjust("reserved = reserved + :n", "on_hand - reserved >= :n").unwrap().returning("reserved");
    let (a, b, paris) = (("LON", vec![0x0a_u8]), ("LON", vec![0x0b_u8]), ("PAR", vec![0x0a_u8]));
    let all = [(paris.clone(), 1), (a.clone(), 2), (b.clone(), 5), (a.clone(), 3)];
    let done = reserve.run_all(&mut tx, all).await.unwrap();
    let seen: Vec<_> =
        done.iter().map(|row| (row.key.to_string(), row.amount, row.version.get(), row.row.get("reserved"))).collect();
    let want = [("(LON, 0a)", 5, 2, 5_i64), ("(LON, 0b)", 5, 2, 5), ("(PAR, 0a)", 1, 2, 1)];
    assert_eq!(seen, want.map(|(key, amount, version, reserved)| (key.to_owned(), amount, version, reserved)));

    let error = reserve.run_all(&mut tx, [(b, 1), (a, 5), (("ROM", vec![1_u8]), 1), (paris, 2)]).await.unwrap_err();
    let Error::Losers { losers, .. } = &error else { panic!("{error}") };
    let named: Vec<_> = losers.iter().map(|loser| (loser.key.to_string(), loser.reason)).collect();
    let want = [("(LON, 0b)", Reason::Refused), ("(PAR, 0a)", Reason::Refused), ("(ROM, 01)", Reason::NotFound)];
    assert_eq!(named, want.map(|(key, reason)| (key.to_owned(), reason)));
    tx.commit().await.unwrap();
    assert_eq!(
        ints(&db, "select cast(sum(reserved) as bigint), cast(sum(version) as bigint) from stock").await,
        [11, 6],
        "nothing of the second"
    );
    let mut tx = db.begin().await.unwrap();
    assert!(reserve.run_all(&mut tx, Vec::<(Key, i64)>::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn integers_and_odd_texts_are_keys_in_bulk_too() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let count = Entity::new("counter", &["id"]).unwrap().adjust("n = n - :n", "n >= :n").unwrap();
    let done = count.run_all(&mut tx, [(2, 3), (1, 10)]).await.unwrap();
    assert_eq!(done.iter().map(|row| row.key.to_string()).collect::<Vec<_>>(), ["1", "2"]);
    assert!(
        matches!(count.run_all(&mut tx, [(1, i64::MAX), (1, 1)]).await, Err(Error::Amount { .. })),
        "sums do not wrap"
    );
    let odd = "'\"\\ü'); drop table product; --";
    sqlx::query("insert into product (sku, price) values ($1, 5)").bind(odd).execute(&mut *tx).await.unwrap();
    let cheaper = product().adjust("price = price - :n", "price >= :n").unwrap();
    assert_eq!(cheaper.run_all(&mut tx, [(odd, 5)]).await.unwrap()[0].key, Key::from(odd));
}

#[tokio::test]
async fn a_key_that_is_not_unique_is_said_and_a_wrong_declaration_too() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let by_place = Entity::new("stock", &["place"]).unwrap();
    let twice = by_place.adjust("reserved = reserved + :n", "true").unwrap();
    assert!(matches!(twice.run(&mut tx, "LON", 1).await, Err(Error::NotUnique { rows: 2, .. })));
    assert!(matches!(
        twice.run_all(&mut tx, [("LON", 1), ("PAR", 1)]).await,
        Err(Error::Losers { .. } | Error::NotUnique { .. })
    ));
    let edit = by_place.replace("LON", version(2)).set("on_hand", 9).run(&mut tx).await;
    assert!(matches!(edit, Err(Error::NotUnique { rows: 2, .. } | Error::Conflict(_))));
    drop(tx);

    let mut tx = db.begin().await.unwrap();
    for (what, wrong) in [
        ("key", product().replace(("A", "B"), Version::FIRST)),
        ("column", product().replace("A", Version::FIRST).set("name = 'x', price", 1)),
        ("version", product().replace("A", Version::FIRST).set("version", 7)),
        ("guard", product().replace("A", Version::FIRST).guard("1 = 1; drop table product")),
    ] {
        let error = wrong.run(&mut tx).await.unwrap_err();
        assert!(matches!(error, Error::Declaration { .. }), "{what}");
        assert_eq!(error.to_problem().status, 500);
    }
    assert!(matches!(Entity::new("a b", &["id"]), Err(Error::Declaration { .. })));
    assert!(matches!(Entity::new("a", &[]), Err(Error::Declaration { .. })));
    assert!(matches!(product().adjust("price = 1", "true"), Err(Error::Declaration { .. })));
}

#[tokio::test]
async fn uuids_booleans_and_nulls_have_their_types() {
    let db = shop().await;
    let mut tx = db.begin().await.unwrap();
    let thing = Entity::new("thing", &["id"]).unwrap();
    let id = uuid::Uuid::from_u128(0x0100_0000_0000_0000_0000_0000_0000_0007);
    let edit = |at| thing.replace(id, version(at));
    let nothing = None::<String>;
    assert_eq!(edit(1).set("done", true).set("note", nothing.clone()).run(&mut tx).await.unwrap().version, version(2));
    assert_eq!(edit(2).set("done", false).set("note", "x").run(&mut tx).await.unwrap().version, version(3));
    assert_eq!(edit(3).set("done", true).set("note", nothing).run(&mut tx).await.unwrap().version, version(4));
    let bumped = thing.adjust("note = cast(:n as text)", ":n > 0").unwrap();
    assert_eq!(bumped.run_all(&mut tx, [(id, 1)]).await.unwrap()[0].key, Key::from(id));
}
