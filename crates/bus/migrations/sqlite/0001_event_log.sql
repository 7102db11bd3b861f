-- The event log: append-only, read in order of offset.
--
-- The offset is the rowid, so an append is the right edge of one tree and a read is a range of it. No further index:
-- readers filter topic and partition while they scan a bounded window. Offsets are not reused as long as the last row
-- stays, which trim guarantees.
create table event_log (
    offset    integer primary key,
    partition integer not null,
    topic     text    not null,
    key       text    not null,
    headers   text    not null,
    payload   blob    not null
);

-- Positions that a consumer keeps here by name: the next offset it will read. Consumers that write into a database of
-- their own keep them there instead, in the transaction of their writes.
create table event_log_position (
    name      text    not null,
    partition integer not null,
    position  integer not null,
    primary key (name, partition)
) without rowid;

-- How many partitions keys are spread over: fixed when the log is made, since another number would split a key's order.
create table event_log_setting (
    id         integer primary key check (id = 1),
    partitions integer not null check (partitions > 0)
);
