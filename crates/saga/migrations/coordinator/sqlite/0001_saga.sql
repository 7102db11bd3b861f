-- The orchestrator's own tables. A saga's number is drawn once, at its start; the journal is keyed by it, so that rows
-- of sagas that run together lie together (hashed ids would touch a page for nearly every row).

create table lane (
    id integer primary key,
    epoch integer not null
) strict;

create table saga_definition (
    name text not null,
    version integer not null,
    hash blob not null,
    source text not null,
    schema text,
    uploaded_at integer not null,
    uploaded_by text not null,
    primary key (name, version)
) strict, without rowid;

-- Narrow: what is folded from the journal and what lists show. The input stands apart.
create table saga (
    no integer primary key autoincrement,
    id blob not null unique check (length(id) = 16),
    definition text not null,
    version integer not null,
    status text not null check (status in ('pending', 'running', 'compensating', 'completed', 'compensated', 'failed')),
    held integer not null,
    overdue integer not null,
    lane integer not null,
    wake_at integer,
    business_key text,
    principal text not null,
    started_at integer not null,
    ended_at integer,
    cause text
) strict;

-- What recovery reads; a saga leaves it when it settles or parks.
create index saga_unsettled on saga (lane, no) where status in ('pending', 'running', 'compensating');
create index saga_parked on saga (no) where status = 'failed';
create index saga_business_key on saga (business_key, no) where business_key is not null;

create table saga_payload (
    saga_no integer primary key references saga (no),
    input text not null,
    context text not null
) strict;

-- Audit log and recovery log: one row per saga and commit.
create table saga_journal (
    day integer not null,
    saga_no integer not null,
    seq integer not null,
    epoch integer not null,
    at integer not null,
    entries text not null,
    primary key (day, saga_no, seq)
) strict, without rowid;

create trigger saga_journal_no_update before update on saga_journal
begin
    select raise(abort, 'saga_journal is append-only');
end;

create trigger saga_journal_no_delete before delete on saga_journal
begin
    select raise(abort, 'saga_journal is append-only');
end;
