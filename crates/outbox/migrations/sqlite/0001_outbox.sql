-- The outbox: events that are written in the transaction of the change they tell of, and published afterwards.
--
-- `published_at is null` is the truth about what must still be published. One writer at a time makes the rowid's order
-- the order of commits, so `id` orders events within an aggregate and across them.
create table outbox (
    id             integer primary key,
    aggregate_id   text    not null,
    aggregate_type text    not null,
    event_type     text    not null,
    payload        text    not null,
    created_at     integer not null,
    published_at   integer,
    event_id       blob    not null check (length(event_id) = 16),
    -- 1, 2, 3 … within the aggregate; outbox_sequence guards it.
    sequence       integer not null check (sequence > 0),
    -- A hash of the aggregate, 0 to 255: lanes are ranges of it.
    bucket         integer not null check (bucket between 0 and 255),
    -- A JSON object of further headers: saga id, trace context.
    headers        text,
    day            integer generated always as (created_at / 86400000) virtual
);

-- What the relay reads. It holds only what waits: an append adds at its right edge, a mark removes at its left, so it
-- stays a page or two. SQLite keeps no dead versions in it. All its keys are null, so its entries stand in order of id.
create index outbox_unpublished on outbox (published_at) where published_at is null;

-- How an aggregate type numbers its events: `given` (the row's version) or `drawn` (from outbox_sequence). Never both.
create table outbox_type (
    id   integer primary key,
    name text not null unique,
    way  text not null check (way in ('given', 'drawn'))
);

-- The last number of each aggregate. The check makes a statement that would leave a gap or use a number twice fail as a
-- whole. Up to `floor` events have been archived.
create table outbox_sequence (
    type_id      integer not null references outbox_type (id),
    aggregate_id text    not null,
    last         integer not null check (last > 0),
    floor        integer not null default 0,
    primary key (type_id, aggregate_id)
) without rowid;

-- Who publishes: the epoch is the fencing token that every mark names.
create table outbox_lane (
    lane        integer primary key,
    epoch       integer not null default 0,
    node        text    not null default '',
    lease_until integer not null default 0
);
insert into outbox_lane (lane) values (0);

-- Aggregates held back by an event that the log refuses: tried again at next_attempt_at, and from dead_at on only when
-- an operator says so.
create table outbox_parked (
    aggregate_type  text    not null,
    aggregate_id    text    not null,
    event           integer not null,
    event_id        blob    not null,
    event_type      text    not null,
    sequence        integer not null,
    attempts        integer not null,
    last_error      text    not null,
    parked_at       integer not null,
    next_attempt_at integer not null,
    dead_at         integer,
    primary key (aggregate_type, aggregate_id)
) without rowid;

-- Events that an operator gave up: never published, and consumers will find their number missing.
create table outbox_discarded (
    event          integer primary key,
    event_id       blob    not null,
    aggregate_type text    not null,
    aggregate_id   text    not null,
    event_type     text    not null,
    sequence       integer not null,
    attempts       integer not null,
    last_error     text    not null,
    reason         text    not null,
    discarded_at   integer not null
);

-- Rows that were deleted: with the newest id it gives the table's size without counting, since ids have no gaps.
create table outbox_deleted (
    id     integer primary key check (id = 1),
    amount integer not null
);
insert into outbox_deleted (id, amount) values (1, 0);
