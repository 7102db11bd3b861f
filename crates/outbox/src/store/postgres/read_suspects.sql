-- Aggregates whose rows are not exactly the numbers floor + 1 … last, each once, in order of id.
-- Index: none, it reads everything; for a checker. Lock: none. Repeat: reads the same.
with ordered as (
    select aggregate_type, aggregate_id, sequence,
           lag(sequence, 1, 0::bigint) over (partition by aggregate_type, aggregate_id order by id) as previous
    from outbox
),
rows_of as (
    select aggregate_type, aggregate_id, count(*) as amount, min(sequence) as first, max(sequence) as last,
           count(*) filter (where sequence <= previous) as disorder
    from ordered
    group by aggregate_type, aggregate_id
),
known as (
    select s.aggregate_type, s.aggregate_id, s.last, coalesce(f.floor, 0) as floor
    from outbox_sequence s
    left join outbox_floor f on f.aggregate_type = s.aggregate_type and f.aggregate_id = s.aggregate_id
)
select coalesce(k.aggregate_type, r.aggregate_type), coalesce(k.aggregate_id, r.aggregate_id),
       coalesce(k.floor, 0), coalesce(k.last, 0)
from known k
full join rows_of r on r.aggregate_type = k.aggregate_type and r.aggregate_id = k.aggregate_id
where k.last is null
   or (r.amount is null and k.last <> k.floor)
   or (r.amount is not null and (
          r.amount <> k.last - k.floor or r.first <> k.floor + 1 or r.last <> k.last or r.disorder > 0))
order by 1, 2
limit $1
