-- A log whose partitions belong to topics has a position for each of them; the empty topic stands for a log whose
-- partitions hold all topics.
create table checkpoint_new (
    projection integer not null references projection (id),
    topic      text    not null,
    partition  integer not null,
    position   integer not null,
    updated_at integer not null,
    primary key (projection, topic, partition)
) without rowid;

insert into checkpoint_new (projection, topic, partition, position, updated_at)
select projection, '', partition, position, updated_at from checkpoint;

drop table checkpoint;

alter table checkpoint_new rename to checkpoint;

alter table skipped_event add column topic text;
