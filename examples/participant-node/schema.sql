-- The seat service's own tables. A seat is free where it has no holder.
create table seat (
    id text primary key,
    holder uuid
);

create table seat_event (
    saga uuid not null,
    step text not null,
    seat text not null references seat,
    what text not null check (what in ('reserved', 'freed'))
);

create index seat_event_saga on seat_event (saga, step);

insert into seat (id) select 'A-' || n from generate_series(1, 500) n;
