-- The wallet service's own tables. The balance is the sum of the entries and never below zero.
create table wallet (
    id text primary key,
    balance bigint not null check (balance >= 0)
);

create table wallet_entry (
    saga uuid not null,
    step text not null,
    wallet text not null references wallet,
    amount bigint not null -- below zero: charged; above: given back
);

create index wallet_entry_saga on wallet_entry (saga, step);

insert into wallet (id, balance) values ('w-1', 1000000);
