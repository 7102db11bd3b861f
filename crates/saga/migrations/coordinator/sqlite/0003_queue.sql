-- Lane 0 becomes nobody's: what waits in the queue lies there, and what is settled or parked belongs to no lane. The one
-- process that can open the folder has lane 1 from here on, so what runs moves there, under an epoch that goes on growing.
insert into lane (id, epoch) select 1, epoch from lane where id = 0 on conflict (id) do nothing;

delete from lane where id = 0;

update saga set lane = 1 where lane = 0 and status in ('pending', 'running', 'compensating');

-- What is to be done to a saga by its owner, until whoever sent it has heard the answer.
create table saga_command (
    no integer primary key autoincrement,
    saga blob not null check (length(saga) = 16),
    text text not null,
    sent_at integer not null,
    answer text
) strict;
