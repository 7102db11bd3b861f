-- Remembers that a consumer applies an event. Index: primary key. Lock: the new key; a second transaction with it waits.
-- Repeat: answers false.
select inbox_once($1, $2::uuid)
