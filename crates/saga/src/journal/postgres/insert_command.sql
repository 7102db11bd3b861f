-- Leaves a command, with the lane that its saga is in (`saga_id`). A repeat leaves a second one.
insert into saga_command (saga, lane, sent_at, text)
values ($1::uuid, (select s.lane from saga s where s.id = $1::uuid), $2, $3)
returning no
