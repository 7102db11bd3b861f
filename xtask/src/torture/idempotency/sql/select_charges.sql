-- Everything that was charged, in its order.
select id, reference, attempt, (extract(epoch from charged_at) * 1000)::bigint as at from charge order by id
