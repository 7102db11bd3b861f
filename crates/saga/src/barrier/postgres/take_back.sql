-- Takes back what the refused work wrote, back to set_mark.sql. The step's lock was taken before the mark and stays.
-- Index: none. Lock: releases those of the work. Repeat: finds nothing more to take back.
rollback to savepoint steadfast_barrier
