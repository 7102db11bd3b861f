-- Lets an aggregate's poison event be tried again, and what stands behind it with it.
-- Index: the primary key's prefix. Lock: the rows. Repeat: changes nothing until it has failed again.
update parked_event
set state = case state when 'poison' then 'retry' else 'waiting' end
where projection = (select id from projection where name = $1)
  and aggregate_type = $2 and aggregate_id = $3 and state in ('poison', 'behind')
