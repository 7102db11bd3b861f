-- The orchestrators' own tables. A saga's number is drawn once, at its start; the journal is keyed by it, so that rows of
-- sagas that run together lie together (hashed ids would write a page for nearly every row after each checkpoint). Moments
-- are milliseconds since 1970.

-- The right to write. Only its epoch is here, since every commit of the lane locks this row; the heartbeat is another row.
create table lane (
    id bigint primary key,
    epoch bigint not null
);

create sequence lane_number as bigint;

-- The epoch of a lane's next owner. It grows, is never below the clock (also after a failover that lost commits), and is no
-- other lane's: a row that stands is known as one's own by the epoch that it was written in. So lanes have residues of their
-- own; of more than 1024 at once, two may share one.
create function saga_next_epoch(lane bigint, former bigint) returns bigint
language sql volatile set search_path = pg_catalog, pg_temp as $body$
    select greatest(former + 1024, floor(extract(epoch from clock_timestamp()) * 1000)::bigint * 1024 + lane % 1024)
$body$;

-- The heartbeat, by the database's clock. Its epoch follows the lane's in the same statement.
create table lane_lease (
    lane bigint primary key,
    epoch bigint not null,
    node text not null,
    until timestamptz not null,
    released boolean not null default false
) with (fillfactor = 50);

-- Who does what one node does for all, where nobody else elects.
create table saga_leader (
    one boolean primary key default true check (one),
    node text not null,
    until timestamptz not null
) with (fillfactor = 50);

insert into saga_leader (node, until) values ('', '-infinity');

create table saga_definition (
    name text not null,
    version integer not null,
    hash bytea not null,
    source text not null,
    schema text,
    uploaded_at bigint not null,
    uploaded_by text not null,
    primary key (name, version)
);

create sequence saga_number as bigint;

-- Narrow: what is folded from the journal and what lists show. The input stands apart. Nothing that changes while a saga is
-- unsettled stands in an index or in an index's condition, so that its updates stay within the page (HOT): `lane` and
-- `parked` change when it rests or is taken up again.
create table saga (
    no bigint not null,
    started_at bigint not null,
    wake_at bigint,
    ended_at bigint,
    lane bigint,
    version integer not null,
    seq integer not null,
    id uuid not null,
    held boolean not null,
    overdue boolean not null,
    parked boolean not null,
    status text not null,
    definition text not null,
    principal text not null,
    business_key text,
    cause text,
    constraint saga_id primary key (id),
    constraint saga_status check (status in ('pending', 'running', 'compensating', 'completed', 'compensated', 'failed')),
    constraint saga_in_a_lane check (lane is not null or status in ('completed', 'compensated', 'failed')),
    constraint saga_parked check (parked = (status = 'failed'))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

comment on column saga.lane is 'who writes it: 0 is the queue; null once it is settled or parked, until an operator takes it up';
comment on column saga.seq is 'the last row of its journal';

create unique index saga_no on saga (no);
-- `no + 0`: where few of many rows are wanted, no plan can walk over saga_no in their order instead.
create index saga_lane on saga (lane, (no + 0)) where lane is not null;
create index saga_parked_no on saga (no) where parked;
create index saga_definition_no on saga (definition, (no + 0));
create index saga_business_key on saga (business_key, no) where business_key is not null;
create index saga_started_at on saga using brin (started_at);

create table saga_payload (
    saga_no bigint primary key,
    input text not null,
    context text not null
);

-- The keys of sagas with sensitive input, each sealed by the keyring. Apart from journal and payload, so that erasing one
-- shreds what it sealed, while everything else stays as it was.
create table saga_key (
    saga_no bigint primary key,
    wrapped text not null
);

-- Audit log and recovery log: one row per saga and commit, under the day (since 1970, UTC) of the saga's start.
create table saga_journal (
    saga_no bigint not null,
    epoch bigint not null,
    at bigint not null,
    day integer not null,
    seq integer not null,
    entries text not null,
    primary key (day, saga_no, seq)
) partition by range (day);

create table saga_journal_default partition of saga_journal default;

create function saga_journal_refuse() returns trigger
language plpgsql as $body$
begin
    raise exception 'saga_journal is append-only' using errcode = 'restrict_violation';
end
$body$;

create trigger saga_journal_no_change before update or delete on saga_journal
for each row execute function saga_journal_refuse();

create trigger saga_journal_no_truncate before truncate on saga_journal_default
for each statement execute function saga_journal_refuse();

revoke update, delete, truncate on saga_journal, saga_journal_default from public, current_user;

-- Makes the journal's partitions of so many days from the given one on, where they are missing; answers with how many were.
-- A day whose rows have met the default partition already stays there. Waits for nobody longer than a second. With the
-- rights of the tables' owner, so that who writes them needs none but to insert.
create function saga_make_partitions(first integer, days integer) returns integer
language plpgsql security definer set search_path from current as $body$
declare
    made integer := 0;
    partition text;
begin
    perform set_config('lock_timeout', '1s', true);
    perform pg_advisory_xact_lock(hashtextextended('saga_make_partitions', 0));
    for d in first .. first + days - 1 loop
        partition := 'saga_journal_' || to_char(date '1970-01-01' + d, 'YYYYMMDD');
        continue when to_regclass(partition) is not null;
        continue when exists (select from saga_journal_default where day = d);
        execute format('create table %I (like saga_journal including defaults including constraints)', partition);
        execute format(
            'create trigger saga_journal_no_truncate before truncate on %I
                for each statement execute function saga_journal_refuse()', partition);
        execute format('revoke update, delete, truncate on %I from public, current_user', partition);
        execute format(
            'alter table saga_journal attach partition %I for values from (%s) to (%s)', partition, d, d + 1);
        made := made + 1;
    end loop;
    return made;
end
$body$;

revoke all on function saga_make_partitions(integer, integer) from public;

select saga_make_partitions(floor(extract(epoch from now()) / 86400)::integer - 1, 5);

-- What is to be done to a saga by its owner, until whoever sent it has heard the answer.
create table saga_command (
    no bigint generated always as identity primary key,
    saga uuid not null,
    lane bigint,
    sent_at bigint not null,
    text text not null,
    answer text
);

-- The sagas' own events, to the outbox of the same database, where the orchestrator is told to.
create function saga_tell(events jsonb) returns integer
language plpgsql as $body$
begin
    perform outbox_append_many(events);
    return jsonb_array_length(events);
end
$body$;
