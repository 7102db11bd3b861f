-- Moves the whole log into the database file and cuts it to nothing; answers 1 in `busy` where somebody still reads it. Waits
-- for readers and the writer within the connection's patience. A repeat finds it empty.
pragma wal_checkpoint(truncate)
