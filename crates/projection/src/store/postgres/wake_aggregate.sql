-- After an aggregate was moved on: its first parked event is looked at again, the others wait for it.
-- Index: the primary key's prefix. Lock: the rows; the aggregate is locked. Repeat: no change.
update parked_event
set state = case when sequence = (
        select min(sequence) from parked_event where projection = $1 and aggregate_type = $2 and aggregate_id = $3
    ) then 'retry' else 'waiting' end
where projection = $1 and aggregate_type = $2 and aggregate_id = $3 and state <> 'poison'
