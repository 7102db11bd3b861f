select id::text as id, status, business_key, cause from saga
