-- What is reserved of a product, how far its version has grown, its reservations, its barrier rows, its events.
select s.reserved, s.version - 1,
    (select count(*) from reservation r where r.product = s.product),
    (select count(*) from saga_barrier b where b.step = s.product and b.state = 1),
    (select count(*) from outbox o where o.aggregate_id = s.product)
from stock s
where s.product = $1
