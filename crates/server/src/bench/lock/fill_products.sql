-- A hundred rows for each of 32 clients, all at their first version, in pages that nobody has written to yet.
truncate product;
insert into product (id, price, version) select id, 0, 1 from generate_series(0, 3199) as id;
analyze product;
