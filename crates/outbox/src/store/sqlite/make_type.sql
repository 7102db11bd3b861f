-- Fixes how a new aggregate type is numbered. Index: unique (name). Lock: the one writer's. Repeat: keeps the first.
insert into outbox_type (name, way) values (?, ?) on conflict (name) do nothing
