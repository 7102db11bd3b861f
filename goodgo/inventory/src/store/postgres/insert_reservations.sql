-- Promises stock to the orders of a batch ($1, $2) with all their lines ($3 to $5), and says to which: to one of the others
-- something is promised already.
-- Index: the unique order_id, the lines' primary key. Lock: waits for a transaction that is inserting the same order's; in the
-- order of their ids, so that two batches wait for each other and never for ever. Repeat: no row comes back.
with fresh as (
    insert into reservation (order_id, status, version, created_at)
    select wanted.order_id, 'reserved', 1, wanted.at
    from unnest($1::uuid[], $2::bigint[]) as wanted (order_id, at)
    order by wanted.order_id
    on conflict (order_id) do nothing
    returning key, order_id
),
lines as (
    insert into reservation_line (reservation_key, product, quantity)
    select fresh.key, line.product, line.quantity
    from unnest($3::uuid[], $4::text[], $5::bigint[]) as line (order_id, product, quantity)
    join fresh on fresh.order_id = line.order_id
)
select order_id from fresh
