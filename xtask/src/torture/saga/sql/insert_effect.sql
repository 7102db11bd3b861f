-- No conflict is possible: a second effect must show.
insert into effect (saga, step, op) values (split_part($1, ':', 1)::uuid, split_part($1, ':', 2), split_part($1, ':', 3))
