-- Commands that wait for an answer, oldest first (primary key of `saga_command`, a small table). No lock; a read.
select no, saga, text from saga_command where answer is null order by no limit ?1
