-- Takes the sums of a batch, all or none: only where every row is at the version that the batch was decided on. A sum of no
-- change compares and writes nothing. Says how many rows are as expected, and the levels before, of those that change.
-- Index: the primary key. Lock: the rows', in the order of their keys, until the commit; what somebody else has changed
-- meanwhile no longer has its version and is not counted. Repeat: finds other versions and changes nothing.
with wanted as (
    select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) as sum (product, expected, amount, changes)
),
locked as (
    select s.product
    from stock s join wanted w on w.product = s.product
    where s.version = w.expected and s.on_hand - s.reserved >= w.amount
    order by s.product
    for no key update of s
),
whole as (
    select count(*) as rows from locked
),
changed as (
    update stock s
    set reserved = s.reserved + w.amount, version = s.version + w.changes
    from wanted w, whole
    where s.product = w.product and w.changes > 0 and s.version = w.expected and s.on_hand - s.reserved >= w.amount
        and whole.rows = cardinality($1::text[])
    returning s.product, s.on_hand, s.reserved - w.amount as reserved
)
select whole.rows, changed.product, changed.on_hand, changed.reserved
from whole left join changed on true
