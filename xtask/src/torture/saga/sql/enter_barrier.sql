-- As docs/reference/participant-protocol.md has it.
select outcome, status, content_type, body, headers::text as headers from saga_barrier_enter($1, $2, $3, $4)
