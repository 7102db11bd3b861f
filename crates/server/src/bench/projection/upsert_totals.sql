-- One row for each aggregate of a batch. Index: primary key. Lock: the rows. A repeat would count twice: it runs in the
-- transaction that moves the checkpoint.
insert into bench_total as t (id, total, events, last)
select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
on conflict (id) do update
set total = t.total + excluded.total, events = t.events + excluded.events, last = excluded.last
