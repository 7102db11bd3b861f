-- What a projector keeps beside its read models, in the same database, so that both move in one transaction.

-- Names are long, numbers are short: every other table names a projection by this id.
create table projection (
    id   integer primary key,
    name text not null unique
);

-- The next offset to read of each partition. The row is its own fence: a batch moves it only from where it began.
create table checkpoint (
    projection integer not null references projection (id),
    partition  integer not null,
    position   integer not null,
    updated_at integer not null,
    primary key (projection, partition)
) without rowid;

-- How far each aggregate has been applied: the number and the id of its last event.
create table aggregate_sequence (
    projection     integer not null references projection (id),
    aggregate_type text    not null,
    aggregate_id   text    not null,
    last           integer not null check (last >= 0),
    event_id       blob    check (length(event_id) = 16),
    primary key (projection, aggregate_type, aggregate_id)
) without rowid;

-- Events that came before their turn, that failed, or that stand behind one that failed.
--   waiting  an earlier event of the aggregate is missing
--   poison   applying it failed; holds its aggregate
--   behind   waits behind a poison event
--   retry    an operator moved the aggregate on; the projector looks at it again
create table parked_event (
    projection     integer not null references projection (id),
    aggregate_type text    not null,
    aggregate_id   text    not null,
    sequence       integer not null,
    event_id       blob    not null check (length(event_id) = 16),
    event          text    not null,
    state          text    not null check (state in ('waiting', 'poison', 'behind', 'retry')),
    error          text,
    attempts       integer not null default 0,
    parked_at      integer not null,
    primary key (projection, aggregate_type, aggregate_id, sequence)
) without rowid;

create index parked_event_waiting on parked_event (projection, parked_at) where state = 'waiting';
create index parked_event_retry on parked_event (projection) where state = 'retry';
create index parked_event_poison on parked_event (projection, parked_at) where state = 'poison';

-- Everything that was passed over, with the reason.
--   gap         numbers that never came and that the policy or an operator gave up
--   collision   another event already has this number in this aggregate
--   unreadable  a record that is not an event; it stays in the log at partition and position
--   discarded   an operator gave up an event that cannot be applied
create table skipped_event (
    id             integer primary key,
    projection     integer not null references projection (id),
    reason         text    not null check (reason in ('gap', 'collision', 'unreadable', 'discarded')),
    aggregate_type text,
    aggregate_id   text,
    first_sequence integer,
    last_sequence  integer,
    event          text,
    partition      integer,
    position       integer,
    detail         text    not null,
    skipped_at     integer not null
);
