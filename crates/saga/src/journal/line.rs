//! The migrations of the orchestrator's own tables.

use steadfast_db::{Line, Migration};

/// The migrations of the orchestrator's own tables.
pub const LINE: Line = Line {
    name: "saga",
    sqlite: &[
        Migration { version: 1, name: "saga", sql: include_str!("../../migrations/coordinator/sqlite/0001_saga.sql") },
        Migration {
            version: 2,
            name: "saga_key",
            sql: include_str!("../../migrations/coordinator/sqlite/0002_saga_key.sql"),
        },
        Migration {
            version: 3,
            name: "queue",
            sql: include_str!("../../migrations/coordinator/sqlite/0003_queue.sql"),
        },
    ],
    postgres: &[Migration {
        version: 1,
        name: "saga",
        sql: include_str!("../../migrations/coordinator/postgres/0001_saga.sql"),
    }],
};
