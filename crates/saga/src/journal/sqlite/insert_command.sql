-- Leaves a command. Under the writer's lock. A repeat leaves a second one.
insert into saga_command (saga, text, sent_at) values (?1, ?2, ?3) returning no
