-- Who may do what with an outbox. Run it in the outbox's database and schema, as its administrator, after the migrations;
-- again after each later one. Nothing here gives a login: grant the roles to yours, such as
--     grant outbox_writer to order_service;
--
-- outbox_owner    owns everything, logs in nowhere; the functions run with its rights.
-- outbox_writer   services: append, by the functions or by INSERT of the columns below. No RETURNING, since it reads:
--                 Prisma writes by `createMany` or `$executeRaw`.
-- outbox_relay    the relay: reads events, marks them, keeps lanes and parked aggregates. It cannot write an event, nor
--                 change one.
-- outbox_auditor  people: everything but what the events say.
do $do$
declare
    role text;
    object record;
begin
    foreach role in array array['outbox_owner', 'outbox_writer', 'outbox_relay', 'outbox_auditor'] loop
        if not exists (select from pg_roles where rolname = role) then
            begin
                execute format('create role %I nologin', role);
            exception when duplicate_object or unique_violation then
                -- Another database's administrator was faster: roles belong to the server.
                null;
            end;
        end if;
    end loop;
    execute format('grant usage on schema %I to outbox_writer, outbox_relay, outbox_auditor', current_schema());
    -- To make partitions.
    execute format('grant usage, create on schema %I to outbox_owner', current_schema());
    for object in
        select c.oid::regclass as name, case c.relkind when 'S' then 'sequence' else 'table' end as kind
        from pg_class c
        where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p', 'S')
          and (c.relname = 'outbox' or c.relname ~ '^outbox_')
          -- A sequence that belongs to a column follows its table.
          and not exists (select from pg_depend d where d.objid = c.oid and d.classid = 'pg_class'::regclass and d.deptype in ('a', 'i') and c.relkind = 'S')
    loop
        execute format('alter %s %s owner to outbox_owner', object.kind, object.name);
        execute format('revoke all on %s %s from public', object.kind, object.name);
    end loop;
    for object in
        select p.oid::regprocedure as name
        from pg_proc p
        where p.pronamespace = current_schema()::regnamespace and p.proname ~ '^outbox_'
    loop
        execute format('alter function %s owner to outbox_owner', object.name);
        execute format('revoke all on function %s from public', object.name);
    end loop;
end
$do$;

-- Writers. `published_at` is taken and forced to null; id, bucket, day and key are the database's own. The functions that
-- the trigger calls run with the owner's rights.
grant insert (aggregate_id, aggregate_type, event_type, payload, created_at, published_at, sequence, headers, event_id)
    on outbox to outbox_writer;
grant execute on function
    outbox_append_rows(text[], text[], text[], text[], text[], bigint[], uuid[], timestamptz[]),
    outbox_append(text, text, text, jsonb, bigint, jsonb, uuid, timestamptz), outbox_append_many(jsonb),
    outbox_oldest_age()
    to outbox_writer;

-- Relays.
grant select on outbox, outbox_type, outbox_sequence, outbox_floor, outbox_archived, outbox_id to outbox_relay;
grant update (published_at) on outbox to outbox_relay;
grant select, update (epoch, node, lease_until, mark, mark_day, read_to) on outbox_lane to outbox_relay;
grant select, insert, update, delete on outbox_parked, outbox_relay to outbox_relay;
grant select, insert on outbox_discarded to outbox_relay;
grant execute on function
    outbox_frontier(bigint), outbox_make_partitions(integer), outbox_ended_days(date),
    outbox_drop_day(date, bigint, text, interval), outbox_oldest_age()
    to outbox_relay;

-- Auditors: who, what kind and when, never payload and headers.
grant select (id, previous_id, event_id, bucket, sequence, aggregate_id, aggregate_type, event_type, key_id, created_at,
              published_at, day) on outbox to outbox_auditor;
grant select on outbox_type, outbox_sequence, outbox_floor, outbox_lane, outbox_relay, outbox_parked, outbox_discarded,
                outbox_archived to outbox_auditor;
grant execute on function outbox_oldest_age() to outbox_auditor;

-- Readers who should be none of these: run it on a schedule, and look at whatever it answers.
--     select grantee, privilege_type, column_name from information_schema.column_privileges
--     where table_name = 'outbox' and column_name = 'payload' and privilege_type = 'SELECT'
--       and grantee not in ('outbox_owner', 'outbox_relay');
-- With pgaudit, every read of the table by anybody else is logged:
--     create role outbox_watch nologin; grant select on outbox to outbox_watch;
--     alter system set pgaudit.role = 'outbox_watch'; select pg_reload_conf();
