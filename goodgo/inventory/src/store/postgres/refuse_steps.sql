-- Records the refusals of a batch, each with its answer; the arrays are columns. Nothing was written for them.
-- Index, lock and repeat: see saga_barrier_refuse in the barrier's migrations.
select saga_barrier_refuse(call.key, call.status, call.content_type, call.body)
from unnest($1::text[], $2::integer[], $3::text[], $4::bytea[]) as call (key, status, content_type, body)
