select saga_barrier_leave($1, $2, $3, $4)
