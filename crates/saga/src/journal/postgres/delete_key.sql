-- Erases the key of one saga, unless the saga is executing: by `saga_id`, whose row is locked so that nobody takes the saga
-- up meanwhile, and the primary key of `saga_key`. A repeat deletes nothing.
with
found as materialized (
    select s.no, s.status in ('pending', 'running', 'compensating') as unsettled
    from saga s where s.id = $1::uuid for no key update
),
erased as (
    delete from saga_key k using found f where k.saga_no = f.no and not f.unsettled returning k.saga_no
)
select coalesce((select f.unsettled from found f), false) as unsettled, exists (select from erased) as erased
