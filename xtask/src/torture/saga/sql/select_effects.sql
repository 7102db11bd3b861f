select saga::text as saga, step, op, count(*) as count from effect group by saga, step, op
