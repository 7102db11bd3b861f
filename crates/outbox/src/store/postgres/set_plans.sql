-- Reads and marks go by the index, whatever the statistics of a new or an emptied partition say: their plans are made
-- once for the life of a connection.
select set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
       set_config('enable_hashjoin', 'off', false), set_config('enable_mergejoin', 'off', false),
       set_config('jit', 'off', false)
