-- How many events are parked, and how many of them are poison.
-- Index: the primary key's prefix, and parked_event_poison. Lock: none. Repeat: reads the same.
select (select count(*) from parked_event where projection = $1),
       (select count(*) from parked_event where projection = $1 and state = 'poison')
