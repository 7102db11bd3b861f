-- Records what each call ($1) is answered.
select saga_barrier_leave(call.key, 201, 'application/json', $2) from unnest($1::text[]) as call (key)
