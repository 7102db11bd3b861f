-- What has happened: lanes of the given (number, epoch) that are still held (primary key of `lane`), the queue up to a bound
-- (index saga_unsettled), how many versions of definitions there are (a small table), commands that wait. No lock; a read.
select
    (
        select json_group_array(l.id)
        from json_each(?1) as r join lane l on l.id = r.value ->> 0 and l.epoch = r.value ->> 1
    ) as held,
    (
        select count(*)
        from (select 1 from saga where lane = 0 and status in ('pending', 'running', 'compensating') limit ?2)
    ) as queued,
    (select count(*) from saga_definition) as definitions,
    exists (select 1 from saga_command where answer is null) as commands
