-- A version of a definition, once and for all: primary key (name, version) of `saga_definition`. A repeat inserts nothing; the
-- caller compares the hash with the one that stands.
insert into saga_definition (name, version, hash, source, schema, uploaded_at, uploaded_by)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (name, version) do nothing
