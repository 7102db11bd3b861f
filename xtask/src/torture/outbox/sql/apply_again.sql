-- What a consumer does that does not look whether it has an event already. Lock: the aggregate's row.
update trial_view set events = events + 1, total = total + $3, chain = (chain * 31 + $3) % 1000000007
where aggregate_type = $1 and aggregate_id = $2
