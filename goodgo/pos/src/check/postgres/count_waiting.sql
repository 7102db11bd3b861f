-- Events that a projection has put aside (a scan of what is put aside, which is little). No lock; a read.
select count(*) from parked_event
