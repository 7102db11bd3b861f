select saga_barrier_refuse($1, $2, $3, $4)
