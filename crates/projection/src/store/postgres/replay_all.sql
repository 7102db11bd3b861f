-- Lets every poison event of a projection be tried again.
-- Index: the primary key's prefix. Lock: the rows. Repeat: changes nothing until one has failed again.
update parked_event
set state = case state when 'poison' then 'retry' else 'waiting' end
where projection = (select id from projection where name = $1) and state in ('poison', 'behind')
