-- Asks the barrier about the calls of a batch, in their order: takes each step's lock without waiting.
-- Index, lock and repeat: see saga_barrier_enter in the barrier's migrations.
select entered.outcome
from unnest($1::text[], $2::bigint[], $3::bytea[]) with ordinality as call (key, started, request, place)
cross join lateral saga_barrier_enter(call.key, call.started, null, call.request) as entered
order by call.place
