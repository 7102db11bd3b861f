-- Takes a lane that has lapsed and holds nothing unsettled (a small table, read in order; index saga_lane for each), or a new
-- one. The lease's row is locked first, passing over lanes that somebody else is taking, then the lane's, behind the appends
-- under way. One of those may put a saga into the lane meanwhile: the taker reads it afterwards. A repeat takes another lane.
with
free as materialized (
    select l.lane from lane_lease l
    where (l.released or l.until <= clock_timestamp()) and not exists (
        select from saga s where s.lane = l.lane and s.status in ('pending', 'running', 'compensating')
    )
    order by l.lane
    limit 1
    for update skip locked
),
leased as (
    update lane_lease l
    set epoch = saga_next_epoch(l.lane, l.epoch), node = $1,
        until = clock_timestamp() + $2 * interval '1 millisecond', released = false
    from free f
    where l.lane = f.lane
    returning l.lane, l.epoch
),
bumped as (
    update lane l set epoch = b.epoch from leased b where l.id = b.lane returning l.id, l.epoch
),
fresh as materialized (
    select nextval('lane_number') as id where not exists (select from free)
),
made as (
    insert into lane (id, epoch) select f.id, saga_next_epoch(f.id, 0) from fresh f returning id, epoch
),
made_lease as (
    insert into lane_lease (lane, epoch, node, until)
    select m.id, m.epoch, $1, clock_timestamp() + $2 * interval '1 millisecond' from made m
)
select id, epoch from bumped union all select id, epoch from made
