-- All definitions, at open and after an upload. A small table; no lock.
select name, version, hash, source, schema, uploaded_at, uploaded_by from saga_definition order by name, version
