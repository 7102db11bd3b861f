-- Deletes the oldest records before an offset, at most a limit; the newest record stays, so that no offset is used twice.
-- Index: a range of the rowid. Lock: the one writer's. Repeat: deletes the next ones.
delete from event_log
where offset in (
    select offset from event_log
    where offset < min(?1, (select max(offset) from event_log))
    order by offset
    limit ?2
)
