-- The keys of sagas with sensitive input, each sealed by the keyring. Apart from journal and payload, so that erasing one
-- shreds what it sealed, while everything else stays as it was.
create table saga_key (
    saga_no integer primary key references saga (no),
    wrapped text not null
) strict;
