-- For this transaction only; it reads. A repeat is the same.
select set_config('statement_timeout', '5s', true)
