select format('saga %s is %s and has no wake_at', id, status)
from saga
where status not in ('completed', 'compensated', 'failed') and wake_at is null
