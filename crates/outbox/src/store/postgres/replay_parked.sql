-- Gives a held event new attempts, the first of them now. Index: a scan of the few that are held back.
-- Lock: the row. Repeat: changes nothing that matters.
update outbox_parked set attempts = 0, dead_at = null, next_attempt_at = to_timestamp($2 / 1000.0)
where event_id = $1::uuid
