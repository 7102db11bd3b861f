-- Moves an aggregate to its next version. Index: primary key. Lock: its row. Repeat: moves it again.
insert into outbox_trial (aggregate_type, aggregate_id, version) values ($1, $2, 1)
on conflict (aggregate_type, aggregate_id) do update set version = outbox_trial.version + 1
returning version
