-- Asks the barrier about calls ($1, $2) whose body has this hash ($3): how many may not run.
select count(*) filter (where entered.outcome <> 'run')
from unnest($1::text[]) as call (key)
cross join lateral saga_barrier_enter(call.key, $2, null, $3) as entered
