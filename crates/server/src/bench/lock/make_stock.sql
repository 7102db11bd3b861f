-- A hot product's row and what is written beside it, as GoodGo's inventory has them; barrier and outbox have their own.
create table stock (
    product text primary key,
    on_hand bigint not null,
    reserved bigint not null,
    version bigint not null,
    check (reserved between 0 and on_hand)
) with (fillfactor = 50);
create table reservation (
    order_id uuid primary key,
    product text not null,
    quantity bigint not null
);
