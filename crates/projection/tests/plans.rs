//! Every statement prepares, and reads by an index what it says it reads.

use std::fmt::Write;
use std::path::Path;

use expect_test::expect;
use sqlx::{AssertSqlSafe, Row};
use steadfast_projection::LINE;
use steadfast_testkit::database;

#[tokio::test]
async fn statements_keep_their_plans() {
    let db = database().await;
    steadfast_db::migrate(&*db, &LINE).await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    for folder in ["store/sqlite", "auditor/sqlite"] {
        files.extend(std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()));
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    let mut plans = String::new();
    for file in files {
        let sql = format!("explain query plan {}", std::fs::read_to_string(&file).unwrap());
        writeln!(plans, "{}", file.file_stem().unwrap().to_string_lossy()).unwrap();
        for row in sqlx::query(AssertSqlSafe(sql)).fetch_all(db.readers()).await.unwrap() {
            let step: String = row.get(3);
            // What reads our tables; how the arguments are read is SQLite's business.
            if (step.starts_with("SEARCH") || step.starts_with("SCAN")) && !step.contains("VIRTUAL TABLE") {
                writeln!(plans, "  {step}").unwrap();
            }
        }
    }
    expect![[r"
        read_summary
          SEARCH saga_consistency USING INDEX saga_consistency_accepted (<expr><?)
        save_sagas
        count_parked
          SCAN CONSTANT ROW
          SEARCH parked_event USING PRIMARY KEY (projection=?)
          SEARCH parked_event USING COVERING INDEX parked_event_poison (projection=?)
        find_due
          SEARCH parked_event USING COVERING INDEX parked_event_retry (projection=?)
          SCAN (subquery-1)
          SEARCH parked_event USING COVERING INDEX parked_event_waiting (projection=? AND parked_at<?)
          SCAN (subquery-3)
        insert_checkpoints
        insert_projection
        list_parked
          SEARCH projection USING COVERING INDEX sqlite_autoindex_projection_1 (name=?)
          SEARCH p USING PRIMARY KEY (projection=?)
        list_projections
          SCAN projection USING COVERING INDEX sqlite_autoindex_projection_1
        list_skipped
          SEARCH projection USING COVERING INDEX sqlite_autoindex_projection_1 (name=?)
          SCAN s
        mark_parked
          SEARCH parked_event USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
        move_checkpoints
          SEARCH checkpoint USING PRIMARY KEY (projection=?)
        park_events
        read_checkpoints
          SEARCH checkpoint USING PRIMARY KEY (projection=?)
        read_head
          SEARCH p USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
          SEARCH s USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?) LEFT-JOIN
        read_parked
          SEARCH p USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
          SEARCH poison USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
        read_projection
          SEARCH projection USING COVERING INDEX sqlite_autoindex_projection_1 (name=?)
        read_sequences
          SEARCH s USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
        record_skips
        release_parked
          SEARCH parked_event USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=? AND sequence=?)
        replay_aggregate
          SEARCH parked_event USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
          SEARCH projection USING COVERING INDEX sqlite_autoindex_projection_1 (name=?)
        replay_all
          SEARCH parked_event USING PRIMARY KEY (projection=?)
          SEARCH projection USING COVERING INDEX sqlite_autoindex_projection_1 (name=?)
        save_sequences
        wake_aggregate
          SEARCH parked_event USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
          SEARCH parked_event USING PRIMARY KEY (projection=? AND aggregate_type=? AND aggregate_id=?)
    "]]
    .assert_eq(&plans);
}
