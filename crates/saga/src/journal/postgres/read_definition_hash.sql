-- The content that a version has (primary key of `saga_definition`). No lock: it never changes.
select hash from saga_definition where name = $1 and version = $2
