"""A service in Python writes events in its own transaction: python write.py postgres://user@host:port/database"""

import sys
from datetime import datetime, timezone

import psycopg
from psycopg.types.json import Jsonb

with psycopg.connect(sys.argv[1], autocommit=True) as connection:
    connection.execute("create table if not exists python_order (id text primary key, total int not null)")

    # A plain INSERT with the six columns. The database numbers the event and sets published_at itself. No RETURNING: a
    # writer may not read the outbox.
    with connection.transaction():
        connection.execute("insert into python_order (id, total) values (%s, %s)", ("p-1", 1200))
        connection.execute(
            "insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, published_at)"
            " values (%s, %s, %s, %s, %s, %s)",
            ("p-1", "python_order", "python_order.created.v1", Jsonb({"total": 1200}), datetime.now(timezone.utc), None),
        )

    # The function, for one event or for many.
    with connection.transaction():
        connection.execute("update python_order set total = %s where id = %s", (1300, "p-1"))
        connection.execute(
            "select outbox_append(%s, %s, %s, %s)",
            ("python_order", "p-1", "python_order.changed.v1", Jsonb({"total": 1300})),
        )
        events = [
            {
                "aggregate_type": "python_order",
                "aggregate_id": "p-1",
                "event_type": "python_order.changed.v1",
                "payload": {"total": total},
            }
            for total in (1400, 1500)
        ]
        connection.execute("select outbox_append_many(%s)", (Jsonb(events),))

    # An error leaves neither the change nor the event.
    try:
        with connection.transaction():
            connection.execute("update python_order set total = 0 where id = %s", ("p-1",))
            connection.execute(
                "select outbox_append(%s, %s, %s, %s)", ("python_order", "p-1", "not a topic", Jsonb({}))
            )
    except psycopg.Error as error:
        if error.sqlstate != "SF003":
            raise
    else:
        raise SystemExit("an illegal event was taken")
