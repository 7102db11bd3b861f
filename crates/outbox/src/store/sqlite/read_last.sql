-- The number of an aggregate's last event. Index: primary key. Lock: none. Repeat: reads the same.
select s.last from outbox_sequence s join outbox_type t on t.id = s.type_id
where t.name = ? and s.aggregate_id = ?
