-- Says that this relay lives, and asks how many others do and how many lanes there are.
-- Index: primary key. Lock: this relay's row. Repeat: says so again.
with greeting as (
    insert into outbox_relay (node, alive_until) values ($1, clock_timestamp() + $2 * interval '1 millisecond')
    on conflict (node) do update set alive_until = excluded.alive_until
)
select (select count(*) from outbox_relay where node <> $1 and alive_until > clock_timestamp()),
       (select count(*) from outbox_lane)
