create table product (id bigint primary key, price bigint not null, version bigint not null) with (fillfactor = 50);
