-- For a connection that plans each statement once: by index, whatever the statistics say at that moment, since the tables
-- may be empty then and large an hour later. And a transaction of it that stands idle is ended by the server, well within a
-- lease: a process that is stopped in the middle of one must not keep its lane's row from whoever takes the lane over.
-- Properties of the session; a repeat is the same.
select set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false),
    set_config('jit', 'off', false), set_config('idle_in_transaction_session_timeout', '2s', false)
