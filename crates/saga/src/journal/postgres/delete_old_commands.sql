-- Commands whose sender has never come back. A small table, read whole; a repeat deletes nothing.
delete from saga_command where sent_at < $1
