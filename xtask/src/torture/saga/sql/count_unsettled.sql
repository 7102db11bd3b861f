select count(*) from saga where status not in ('completed', 'compensated', 'failed')
