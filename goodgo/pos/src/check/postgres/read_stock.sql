-- Every product's stock beside the sum of its movements. Two scans. No lock; a read.
select s.product, s.on_hand, s.reserved, coalesce(m.moved, 0)
from stock s left join (select product, sum(quantity)::bigint as moved from stock_movement group by product) m
    on m.product = s.product
order by s.product
