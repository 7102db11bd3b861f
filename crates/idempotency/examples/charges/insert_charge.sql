-- One charge. Lock: the new row's, until the transaction ends. A repeat is another charge, which is why the route is behind
-- an idempotency layer.
insert into charge (reference, cents, attempt) values ($1, $2, $3) returning id
