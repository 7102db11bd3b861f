-- What a projector keeps beside its read models, in the same database, so that both move in one transaction.
-- Keys compare by byte: the order in which rows are locked is then the same for every process.

-- Names are long, numbers are short: every other table names a projection by this id.
create table projection (
    id   bigint primary key generated always as identity,
    name text not null unique
);

-- The next offset to read of each partition; the empty topic stands for a log whose partitions hold all topics.
-- The row is its own fence: a batch moves it only from where it began.
create table checkpoint (
    projection bigint  not null references projection (id),
    topic      text    collate "C" not null,
    partition  integer not null,
    position   bigint  not null,
    updated_at bigint  not null,
    primary key (projection, topic, partition)
) with (fillfactor = 50);

-- How far each aggregate has been applied: the number and the id of its last event. A batch locks the rows of its
-- aggregates. No foreign key: it would cost a look at the projection for each row.
create table aggregate_sequence (
    projection     bigint not null,
    aggregate_type text   collate "C" not null,
    aggregate_id   text   collate "C" not null,
    last           bigint not null check (last >= 0),
    event_id       bytea  check (octet_length(event_id) = 16),
    primary key (projection, aggregate_type, aggregate_id)
) with (fillfactor = 50);

-- An event is kept as the text that came: type json would not hand out one that has a NUL in a string.

-- Events that came before their turn, that failed, or that stand behind one that failed.
--   waiting  an earlier event of the aggregate is missing
--   poison   applying it failed; holds its aggregate
--   behind   waits behind a poison event
--   retry    an operator moved the aggregate on; the projector looks at it again
create table parked_event (
    projection     bigint  not null references projection (id),
    aggregate_type text    collate "C" not null,
    aggregate_id   text    collate "C" not null,
    sequence       bigint  not null,
    event_id       bytea   not null check (octet_length(event_id) = 16),
    event          text    not null,
    state          text    not null check (state in ('waiting', 'poison', 'behind', 'retry')),
    error          text,
    attempts       integer not null default 0,
    parked_at      bigint  not null,
    primary key (projection, aggregate_type, aggregate_id, sequence)
);

create index parked_event_waiting on parked_event (projection, parked_at) where state = 'waiting';
create index parked_event_retry on parked_event (projection) where state = 'retry';
create index parked_event_poison on parked_event (projection, parked_at) where state = 'poison';

-- Everything that was passed over, with the reason.
--   gap         numbers that never came and that the policy or an operator gave up
--   collision   another event already has this number in this aggregate
--   unreadable  a record that is not an event; it stays in the log at topic, partition and position
--   discarded   an operator gave up an event that cannot be applied
create table skipped_event (
    id             bigint primary key generated always as identity,
    projection     bigint not null references projection (id),
    reason         text   not null check (reason in ('gap', 'collision', 'unreadable', 'discarded')),
    aggregate_type text,
    aggregate_id   text,
    first_sequence bigint,
    last_sequence  bigint,
    event          text,
    topic          text,
    partition      integer,
    position       bigint,
    detail         text   not null,
    skipped_at     bigint not null
);

create index skipped_event_newest on skipped_event (projection, id);
