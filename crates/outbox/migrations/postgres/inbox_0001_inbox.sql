-- What consumers have applied, so that an event which is delivered twice has its effect once.
create table inbox (
    consumer    text        not null,
    event_id    uuid        not null,
    received_at timestamptz not null default now(),
    primary key (consumer, event_id)
);
create index inbox_received_at on inbox using brin (received_at);

-- Whether this consumer meets the event for the first time. Call it in the transaction that applies the event, and apply
-- it only when the answer is true. Two transactions with one event take turns; when the first rolls back, the second
-- meets it first.
do $do$
begin
    execute replace($sql$
create function @@.inbox_once(consumer text, event_id uuid) returns boolean
language plpgsql volatile set search_path = pg_catalog, pg_temp as $body$
begin
    insert into @@.inbox (consumer, event_id) values (inbox_once.consumer, inbox_once.event_id) on conflict do nothing;
    return found;
end
$body$
    $sql$, '@@', quote_ident(current_schema()));
end
$do$;
