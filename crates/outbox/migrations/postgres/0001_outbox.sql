-- The outbox: events that are written in the transaction of the change they tell of, and published afterwards.
--
-- `published_at is null` is the truth about what must still be published. Ids are drawn after the lock on the aggregate's
-- row in outbox_sequence, so an aggregate's events have rising ids in the order of their commits; across aggregates they
-- have not, and nothing here assumes it.

-- Ids, drawn one at a time by each session: a cache would hand a later writer a smaller id.
create sequence outbox_id as bigint cache 1;

-- No default draws the id: it would be drawn before any trigger, and so before the lock.
create table outbox (
    id             bigint      not null,
    -- The id of the aggregate's event before this one; 0 for the first. A relay that meets this event knows by it
    -- whether it has missed that one.
    previous_id    bigint      not null,
    event_id       uuid        not null,
    -- A hash of the aggregate, fixed when the aggregate is first met: lanes are ranges of it.
    bucket         smallint    not null,
    -- 1, 2, 3 … within the aggregate; outbox_sequence guards it.
    sequence       bigint      not null check (sequence > 0),
    aggregate_id   text        not null,
    aggregate_type text        not null,
    event_type     text        not null,
    -- As it was written, byte for byte.
    payload        json        not null,
    -- Further headers, names and text: saga id, trace context.
    headers        json,
    -- The key that sealed the payload, where it is sealed.
    key_id         text,
    created_at     timestamptz not null default now(),
    published_at   timestamptz,
    -- The day on the database's clock, UTC: chooses the partition.
    day            date        not null default (clock_timestamp() at time zone 'UTC')::date
) partition by range (day);

-- The only hot index. Nothing may index published_at while rows are being marked, so that a mark is a HOT update.
create index outbox_bucket_id on outbox (bucket, id);

-- What belongs to a day that has no partition: nothing, unless nobody has made partitions for a week.
create table outbox_default partition of outbox default with (fillfactor = 50);

-- From PostgreSQL 16 on a BRIN index leaves updates HOT. Before, only partitions that are sealed get an index on it.
do $do$
begin
    if current_setting('server_version_num')::integer >= 160000 then
        create index outbox_published_at on outbox using brin (published_at);
    end if;
end
$do$;

-- How an aggregate type numbers its events: `given` (the row's version) or `drawn` (from outbox_sequence). Never both.
create table outbox_type (
    name text primary key,
    way  text not null check (way in ('given', 'drawn'))
);

-- The last event of each aggregate. Its row is the lock that orders the aggregate's writers. It repeats how its type is
-- numbered, so that an event needs one look and no join.
create table outbox_sequence (
    aggregate_type text     not null,
    aggregate_id   text     not null,
    way            text     not null check (way in ('given', 'drawn')),
    last           bigint   not null check (last > 0),
    last_id        bigint   not null,
    previous_id    bigint   not null,
    bucket         smallint not null check (bucket between 0 and 255),
    primary key (aggregate_type, aggregate_id)
) with (fillfactor = 70);

-- Up to which number an aggregate's events have been archived. Apart from outbox_sequence, so that the archive never
-- waits for a writer nor a writer for it.
create table outbox_floor (
    aggregate_type text   not null,
    aggregate_id   text   not null,
    floor          bigint not null,
    primary key (aggregate_type, aggregate_id)
);

-- Who publishes which buckets. The epoch is the fencing token that every claim, mark and move of the low-water mark names.
create table outbox_lane (
    lane         smallint    primary key,
    first_bucket smallint    not null,
    last_bucket  smallint    not null,
    epoch        bigint      not null default 0,
    node         text        not null default '',
    lease_until  timestamptz not null default '-infinity',
    -- The low-water mark. Whatever has an id up to it is published or belongs to a parked aggregate: it accelerates
    -- reading and never decides.
    mark         bigint      not null default 0,
    -- Rows above the mark are of this day or later.
    mark_day     date        not null default '-infinity',
    -- How far the lane has read: what waits behind it came late.
    read_to      bigint      not null default 0
) with (fillfactor = 20);
insert into outbox_lane (lane, first_bucket, last_bucket)
select n, n * 32, n * 32 + 31 from generate_series(0, 7) n;

-- Relays that are alive, to share the lanes among them.
create table outbox_relay (
    node        text        primary key,
    alive_until timestamptz not null
) with (fillfactor = 50);

-- Aggregates held back by an event that the log refuses: tried again at next_attempt_at, and from dead_at on only when
-- an operator says so.
create table outbox_parked (
    aggregate_type  text        not null,
    aggregate_id    text        not null,
    bucket          smallint    not null,
    event           bigint      not null,
    event_id        uuid        not null,
    event_type      text        not null,
    sequence        bigint      not null,
    created_at      timestamptz not null,
    day             date        not null,
    attempts        integer     not null,
    last_error      text        not null,
    parked_at       timestamptz not null,
    next_attempt_at timestamptz not null,
    dead_at         timestamptz,
    primary key (aggregate_type, aggregate_id)
);

-- Events that an operator gave up: never published, and consumers will find their number missing.
create table outbox_discarded (
    event          bigint      primary key,
    event_id       uuid        not null,
    aggregate_type text        not null,
    aggregate_id   text        not null,
    event_type     text        not null,
    sequence       bigint      not null,
    attempts       integer     not null,
    last_error     text        not null,
    reason         text        not null,
    discarded_at   timestamptz not null
);

-- Days that were archived and dropped.
create table outbox_archived (
    day        date        primary key,
    amount     bigint      not null,
    checksum   text        not null,
    dropped_at timestamptz not null default clock_timestamp()
);

-- The functions name every table with its schema, since those that run with their owner's rights pin the search path.
-- `@@` stands for that schema.
do $do$
declare
    part text;
begin
    foreach part in array array[$sql$

-- A UUID of version 7: its first 48 bits are the time in milliseconds. Inlined where it is called, hence no settings.
create function @@.outbox_uuid() returns uuid language sql volatile parallel safe as $body$
    select encode(set_bit(set_bit(overlay(uuid_send(gen_random_uuid())
        placing substring(int8send((date_part('epoch', clock_timestamp()) * 1000)::bigint) from 3) from 1 for 6),
        52, 1), 53, 1), 'hex')::uuid
$body$;

$sql$, $sql$

-- Whether an event's names can travel: the rules of topics and headers. Inlined where it is called. (A pattern with a
-- counted repeat, such as {1,128}, would cost ten times as much as the length.)
create function @@.outbox_is_legal(aggregate_type text, aggregate_id text, event_type text, payload text) returns boolean
language sql immutable parallel safe as $body$
    select coalesce(
        aggregate_type !~ '[^A-Za-z0-9._-]' and length(aggregate_type) between 1 and 128 and aggregate_type not in ('.', '..')
        and aggregate_id !~ '[\u0001-\u001f\u007f-\u009f]' and octet_length(aggregate_id) between 1 and 255
        and event_type !~ '[^A-Za-z0-9._-]' and length(event_type) between 1 and 249 and event_type not in ('.', '..')
        and octet_length(payload) <= 1048576,
        false)
$body$;

$sql$, $sql$

-- Says what is not legal about an event.
create function @@.outbox_refuse(aggregate_type text, aggregate_id text, event_type text, payload text) returns void
language plpgsql immutable set search_path = pg_catalog, pg_temp as $body$
declare
    field text;
    rule  text;
begin
    if aggregate_type is null or aggregate_type !~ '^[A-Za-z0-9._-]{1,128}$' or aggregate_type in ('.', '..') then
        field := 'aggregate_type';
        rule := 'use 1 to 128 of letters, digits, ''.'', ''_'' and ''-''';
    elsif aggregate_id is null or octet_length(aggregate_id) not between 1 and 255
        or aggregate_id ~ '[\u0001-\u001f\u007f-\u009f]' then
        field := 'aggregate_id';
        rule := 'use 1 to 255 bytes without control characters';
    elsif event_type is null or event_type !~ '^[A-Za-z0-9._-]{1,249}$' or event_type in ('.', '..') then
        field := 'event_type';
        rule := 'use 1 to 249 of letters, digits, ''.'', ''_'' and ''-'', such as order.created.v1';
    elsif payload is null then
        field := 'payload';
        rule := 'give a JSON value';
    else
        raise exception 'the payload of % has % bytes, the outbox takes 1048576', event_type, octet_length(payload)
            using errcode = 'SF004', hint = 'Store large content elsewhere and send its address.',
                  detail = json_build_object('event_type', event_type, 'size', octet_length(payload), 'limit', 1048576);
    end if;
    raise exception '% of an event is not legal: %', field, rule
        using errcode = 'SF003', column = field, detail = json_build_object('field', field);
end
$body$;

$sql$, $sql$

-- Fixes how a new aggregate type is numbered, or says that it is numbered in the other way. Two writers that meet a type
-- first at once take turns: the second waits for the first's commit.
create function @@.outbox_know_type(type_name text, wanted text) returns void
language plpgsql volatile set search_path = pg_catalog, pg_temp as $body$
declare
    known text;
begin
    insert into @@.outbox_type (name, way) values (type_name, wanted) on conflict (name) do nothing;
    select t.way into strict known from @@.outbox_type t where t.name = type_name;
    if known <> wanted then
        raise exception 'aggregate type % has its sequence % since its first event', type_name, known
            using errcode = 'SF002',
                  hint = case known when 'given' then 'Set sequence to the aggregate''s version for all of its events.'
                                    else 'Leave sequence unset for all of its events.' end,
                  detail = json_build_object('aggregate_type', type_name, 'way', known);
    end if;
end
$body$;

$sql$, $sql$

-- Says that a number is not the next one.
create function @@.outbox_refuse_sequence(aggregate_type text, aggregate_id text, given bigint, last bigint) returns bigint
language plpgsql volatile set search_path = pg_catalog, pg_temp as $body$
begin
    raise exception '% %: an event with sequence % cannot follow %', aggregate_type, aggregate_id, given, last
        using errcode = 'SF001',
              hint = 'Append exactly one event for each version, in the transaction that makes the version.',
              detail = json_build_object('aggregate_type', aggregate_type, 'aggregate_id', aggregate_id,
                                         'given', given, 'last', last);
end
$body$;

$sql$, $sql$

-- Numbers an event that comes without an id: a plain INSERT, or the functions below for one event. The transaction has its
-- own id first, then the aggregate's row is locked, then the event's id is drawn: the relay's low-water mark and the order
-- of the aggregate rest on that.
--
-- The UPDATE may draw an id before it has the lock, but uses it only if nobody has moved the row since: else the row is
-- read again when the lock is there, and the id is drawn again with it. (Under REPEATABLE READ it fails instead.) The INSERT
-- serves an aggregate's first event: no other can be earlier, and when another writer's turns out to be, the id is drawn
-- again under the lock. Most events are not their aggregate's first, and the UPDATE costs half.
create function @@.outbox_number() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
declare
    wanted constant bigint := new.sequence;
    number_way constant text := case when new.sequence is null then 'drawn' else 'given' end;
    own_id xid8;
begin
    if not @@.outbox_is_legal(new.aggregate_type, new.aggregate_id, new.event_type, new.payload::text) then
        perform @@.outbox_refuse(new.aggregate_type, new.aggregate_id, new.event_type, new.payload::text);
    end if;
    own_id := pg_current_xact_id();
    update @@.outbox_sequence s
    set last = s.last + 1, previous_id = s.last_id, last_id = nextval('@@.outbox_id')
    where s.aggregate_type = new.aggregate_type and s.aggregate_id = new.aggregate_id and s.way = number_way
    returning s.last, s.last_id, s.previous_id, s.bucket
    into new.sequence, new.id, new.previous_id, new.bucket;
    if not found then
        for attempt in 1 .. 2 loop
            insert into @@.outbox_sequence as s (aggregate_type, aggregate_id, way, last, last_id, previous_id, bucket)
            select t.name, new.aggregate_id, t.way, 1, nextval('@@.outbox_id'), 0,
                   hashtextextended(new.aggregate_id, hashtext(t.name)) & 255
            from @@.outbox_type t
            where t.name = new.aggregate_type and t.way = number_way
            on conflict (aggregate_type, aggregate_id) do update
            set last = s.last + 1, previous_id = s.last_id, last_id = nextval('@@.outbox_id')
            returning s.last, s.last_id, s.previous_id, s.bucket
            into new.sequence, new.id, new.previous_id, new.bucket;
            exit when found;
            perform @@.outbox_know_type(new.aggregate_type, number_way);
        end loop;
    end if;
    if wanted <> new.sequence then
        perform @@.outbox_refuse_sequence(new.aggregate_type, new.aggregate_id, wanted, new.sequence - 1);
    end if;
    if new.event_id is null then
        new.event_id := @@.outbox_uuid();
    end if;
    if new.created_at is null then
        new.created_at := clock_timestamp();
    end if;
    new.published_at := null;
    return new;
end
$body$;

create trigger outbox_number before insert on @@.outbox
for each row when (new.id is null) execute function @@.outbox_number();

$sql$, $sql$

-- Appends events in order, given as columns: what the functions below and the library call. Answers with their ids.
create function @@.outbox_append_rows(
    aggregate_types text[], aggregate_ids text[], event_types text[], payloads text[], headers text[],
    sequences bigint[], event_ids uuid[], created_ats timestamptz[]
) returns uuid[]
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan as $body$
declare
    amount constant integer := coalesce(cardinality(event_types), 0);
    many_types text[];
    many_aggregates text[];
    many_ids bigint[];
    bad record;
    own_id xid8;
begin
    if amount = 0 then
        return array[]::uuid[];
    end if;
    if array_position(event_ids, null) is not null then
        event_ids := array(select coalesce(e.id, @@.outbox_uuid()) from unnest(event_ids) with ordinality e (id, n) order by e.n);
    end if;
    if amount = 1 then
        insert into @@.outbox (aggregate_id, aggregate_type, event_type, payload, headers, sequence, event_id, created_at)
        values (aggregate_ids[1], aggregate_types[1], event_types[1], payloads[1]::json, headers[1]::json, sequences[1],
                event_ids[1], coalesce(created_ats[1], clock_timestamp()));
        return event_ids;
    end if;
    own_id := pg_current_xact_id();
    -- In order of name, so that two transactions that meet the same new types wait for each other and never for ever.
    for bad in
        select e.kind, min(e.aggregate) as aggregate, min(e.event) as event, min(e.payload) as payload, e.way, e.legal
        from (
            select u.kind, u.aggregate, u.event, u.payload, case when u.sequence is null then 'drawn' else 'given' end as way,
                   @@.outbox_is_legal(u.kind, u.aggregate, u.event, u.payload) as legal
            from unnest(aggregate_types, aggregate_ids, event_types, payloads, sequences)
                 u (kind, aggregate, event, payload, sequence)
        ) e
        left join @@.outbox_type t on t.name = e.kind and t.way = e.way
        where t.name is null or not e.legal
        group by e.kind, e.way, e.legal, case when e.legal then '' else e.aggregate || e.event end
        order by e.legal, e.kind, e.way
    loop
        if not bad.legal then
            perform @@.outbox_refuse(bad.kind, bad.aggregate, bad.event, bad.payload);
        end if;
        perform @@.outbox_know_type(bad.kind, bad.way);
    end loop;
    with event as (
        select u.*, row_number() over (partition by u.kind, u.aggregate order by u.n) as place,
               count(*) over (partition by u.kind, u.aggregate) as places
        from unnest(aggregate_types, aggregate_ids, event_types, payloads, headers, sequences, event_ids, created_ats)
             with ordinality u (kind, aggregate, event, payload, header, given, event_id, at, n)
    ),
    claimed as (
        insert into @@.outbox_sequence as s (aggregate_type, aggregate_id, way, last, last_id, previous_id, bucket)
        select c.kind, c.aggregate, case when c.given is null then 'drawn' else 'given' end, c.places,
               nextval('@@.outbox_id'), 0, hashtextextended(c.aggregate, hashtext(c.kind)) & 255
        from (select * from event e where e.place = 1 order by e.kind, e.aggregate) c
        on conflict (aggregate_type, aggregate_id) do update
        set last = s.last + excluded.last, previous_id = s.last_id, last_id = nextval('@@.outbox_id')
        returning s.aggregate_type, s.aggregate_id, s.last, s.last_id, s.previous_id, s.bucket
    ),
    numbered as materialized (
        select o.*, case when o.place = 1 then o.last_id else nextval('@@.outbox_id') end as id
        from (
            select e.*, c.last - e.places + e.place as number, c.last_id, c.previous_id, c.bucket
            from event e join claimed c on c.aggregate_type = e.kind and c.aggregate_id = e.aggregate
            order by e.n
        ) o
    ),
    written as (
        insert into @@.outbox (id, previous_id, event_id, bucket, sequence, aggregate_id, aggregate_type, event_type, payload,
                               headers, created_at)
        select n.id, coalesce(lag(n.id) over (partition by n.kind, n.aggregate order by n.place), n.previous_id),
               n.event_id, n.bucket,
               case when n.given is null or n.given = n.number then n.number
                    else @@.outbox_refuse_sequence(n.kind, n.aggregate, n.given, n.number - 1) end,
               n.aggregate, n.kind, n.event, n.payload::json, n.header::json, coalesce(n.at, clock_timestamp())
        from numbered n
    )
    select array_agg(n.kind), array_agg(n.aggregate), array_agg(n.id)
    into many_types, many_aggregates, many_ids
    from numbered n
    where n.places > 1 and n.place = n.places;
    if many_ids is not null then
        update @@.outbox_sequence s set last_id = m.id
        from unnest(many_types, many_aggregates, many_ids) m (kind, aggregate, id)
        where s.aggregate_type = m.kind and s.aggregate_id = m.aggregate;
    end if;
    return event_ids;
end
$body$;

$sql$, $sql$

-- Appends one event in the caller's transaction and answers with its id. With a sequence the number is the aggregate's
-- version and must be the next one; without, it is drawn.
create function @@.outbox_append(
    aggregate_type text, aggregate_id text, event_type text, payload jsonb,
    sequence bigint default null, headers jsonb default null, event_id uuid default null, created_at timestamptz default null
) returns uuid
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp as $body$
declare
    chosen constant uuid := coalesce(event_id, @@.outbox_uuid());
begin
    insert into @@.outbox (aggregate_id, aggregate_type, event_type, payload, headers, sequence, event_id, created_at)
    values (aggregate_id, aggregate_type, event_type, payload::json, headers::json, sequence, chosen,
            coalesce(created_at, clock_timestamp()));
    return chosen;
end
$body$;

$sql$, $sql$

-- Appends events in order, in a few statements for any number of them. Each element of the array is an object
-- {aggregate_type, aggregate_id, event_type, payload, event_id?, headers?, sequence?, created_at?}; created_at is text as
-- timestamptz takes it, or milliseconds since 1970. Answers with the events' ids, in order.
create function @@.outbox_append_many(events jsonb) returns uuid[]
language sql volatile security definer
set search_path = pg_catalog, pg_temp as $body$
    select @@.outbox_append_rows(
        array_agg(e.event ->> 'aggregate_type' order by e.n), array_agg(e.event ->> 'aggregate_id' order by e.n),
        array_agg(e.event ->> 'event_type' order by e.n), array_agg((e.event -> 'payload')::text order by e.n),
        array_agg(case when jsonb_typeof(e.event -> 'headers') <> 'null' then (e.event -> 'headers')::text end order by e.n),
        array_agg((e.event ->> 'sequence')::bigint order by e.n), array_agg((e.event ->> 'event_id')::uuid order by e.n),
        array_agg(case jsonb_typeof(e.event -> 'created_at')
                      when 'number' then to_timestamp((e.event ->> 'created_at')::double precision / 1000)
                      else (e.event ->> 'created_at')::timestamptz end order by e.n))
    from jsonb_array_elements(events) with ordinality e (event, n)
$body$;

$sql$, $sql$

-- The newest id that was drawn when this was called and, if that is beyond what the caller knows, a transaction id that
-- is greater than that of every transaction which had drawn an id by then; with them the oldest transaction that may
-- still run. All ids up to the frontier belong to transactions that have ended once `oldest` has reached `proof`.
create function @@.outbox_frontier(known bigint, out frontier bigint, out proof bigint, out oldest bigint, out today date)
language plpgsql volatile set search_path = pg_catalog, pg_temp as $body$
begin
    select case when s.is_called then s.last_value else s.last_value - 1 end into frontier from @@.outbox_id s;
    if frontier > known then
        proof := pg_current_xact_id()::text::bigint;
    end if;
    today := (clock_timestamp() at time zone 'UTC')::date;
    -- A snapshot of its own, which cannot be older than the transaction id.
    select pg_snapshot_xmin(pg_current_snapshot())::text::bigint into oldest;
end
$body$;

$sql$, $sql$

-- Makes the partitions of today and of so many days ahead, where they are missing; answers with how many were. Rows that
-- have met the default partition meanwhile are moved.
create function @@.outbox_make_partitions(ahead integer default 7) returns integer
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
declare
    today constant date := (clock_timestamp() at time zone 'UTC')::date;
    made integer := 0;
    name text;
begin
    for n in 0 .. least(greatest(ahead, 0), 100) loop
        name := 'outbox_' || to_char(today + n, 'YYYYMMDD');
        continue when to_regclass('@@.' || name) is not null;
        -- One at a time, also across relays.
        perform pg_advisory_xact_lock(hashtextextended('outbox_make_partitions', 0));
        continue when to_regclass('@@.' || name) is not null;
        execute format('create table @@.%I (like @@.outbox including defaults including constraints) with (fillfactor = 50)', name);
        if exists (select from @@.outbox_default d where d.day = today + n) then
            lock table only @@.outbox_default in access exclusive mode;
            execute format('with moved as (delete from @@.outbox_default d where d.day = %L returning d.*)
                            insert into @@.%I select * from moved', today + n, name);
        end if;
        execute format('alter table @@.outbox attach partition @@.%I for values from (%L) to (%L)',
                       name, today + n, today + n + 1);
        made := made + 1;
    end loop;
    return made;
end
$body$;

$sql$, $sql$

-- The oldest days that have ended and still have a partition, the oldest first.
create function @@.outbox_ended_days(before date) returns setof date
language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
    select d.day
    from pg_inherits i
    join pg_class c on c.oid = i.inhrelid
    cross join lateral (select to_date(substring(c.relname from '^outbox_([0-9]{8})$'), 'YYYYMMDD') as day) d
    where i.inhparent = '@@.outbox'::regclass
      and d.day < least(before, (clock_timestamp() at time zone 'UTC')::date)
    order by d.day
$body$;

$sql$, $sql$

-- Drops the partition of a day that was archived with so many rows, if nothing in it waits and nobody has added to it;
-- else says why not: `waiting`, `changed`, or `gone`. Locks first and counts in a later statement, so that the count sees
-- every transaction that had the partition before. The table is locked before the partition, as everybody does.
create function @@.outbox_drop_day(wanted date, amount bigint, checksum text, patience interval default '300 ms') returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $body$
declare
    name constant text := 'outbox_' || to_char(wanted, 'YYYYMMDD');
    found_rows bigint;
    waiting bigint;
begin
    if wanted >= (clock_timestamp() at time zone 'UTC')::date then
        raise exception 'the day % has not ended', wanted using errcode = 'SF005';
    end if;
    perform set_config('lock_timeout', (extract(epoch from patience) * 1000)::integer::text, true);
    lock table only @@.outbox in access exclusive mode;
    if to_regclass('@@.' || name) is null then
        return 'gone';
    end if;
    execute format('lock table only @@.%I in access exclusive mode', name);
    execute format('select count(*), count(*) filter (where o.published_at is null) from @@.%I o', name)
    into found_rows, waiting;
    if waiting > 0 then
        return 'waiting';
    end if;
    if found_rows <> amount then
        return 'changed';
    end if;
    execute format(
        'insert into @@.outbox_floor (aggregate_type, aggregate_id, floor)
         select o.aggregate_type, o.aggregate_id, max(o.sequence)
         from @@.%I o
         group by o.aggregate_type, o.aggregate_id
         on conflict (aggregate_type, aggregate_id) do update set floor = greatest(outbox_floor.floor, excluded.floor)', name);
    insert into @@.outbox_archived (day, amount, checksum) values (wanted, amount, checksum)
    on conflict (day) do update set amount = outbox_archived.amount + excluded.amount, checksum = excluded.checksum,
                                    dropped_at = excluded.dropped_at;
    execute format('drop table @@.%I', name);
    return 'dropped';
end
$body$;

$sql$, $sql$

-- How old the oldest event is that waits; null where none does. For a service to show its own outbox's age, without the
-- right to read it. It looks from shortly behind where each lane has read to, so that it costs the same however much is
-- kept; and at what is parked. Compiling it would take a hundred times what it does.
create function @@.outbox_oldest_age() returns interval
language sql volatile security definer set search_path = pg_catalog, pg_temp set jit = off as $body$
    select clock_timestamp() - min(w.created_at)
    from (
        select first.created_at
        from @@.outbox_lane l
        cross join lateral generate_series(l.first_bucket::integer, l.last_bucket::integer) b
        cross join lateral (
            select o.created_at
            from @@.outbox o
            where o.bucket = b and o.id > greatest(l.mark, l.read_to - 20000) and o.day >= l.mark_day
              and o.published_at is null
            order by o.id
            limit 1
        ) first
        union all
        select p.created_at from @@.outbox_parked p
    ) w
$body$;

$sql$, $sql$

-- Nobody has a right that deploy/sql-roles/outbox.sql does not give.
revoke all on function
    @@.outbox_append_rows(text[], text[], text[], text[], text[], bigint[], uuid[], timestamptz[]),
    @@.outbox_append(text, text, text, jsonb, bigint, jsonb, uuid, timestamptz), @@.outbox_append_many(jsonb),
    @@.outbox_make_partitions(integer), @@.outbox_ended_days(date), @@.outbox_drop_day(date, bigint, text, interval),
    @@.outbox_oldest_age()
from public;

$sql$] loop
        execute replace(part, '@@', quote_ident(current_schema()));
    end loop;
end
$do$;

select outbox_make_partitions(7);
