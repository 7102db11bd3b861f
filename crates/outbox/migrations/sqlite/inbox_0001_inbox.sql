-- What consumers have applied, so that an event which is delivered twice has its effect once.
create table inbox (
    consumer    text    not null,
    event_id    blob    not null check (length(event_id) = 16),
    received_at integer not null,
    primary key (consumer, event_id)
) without rowid;
create index inbox_received_at on inbox (received_at);
