-- How the sagas of one measurement ended, by what their orders' numbers begin with. A scan. No lock; a read.
select uuid_send(id), status, ended_at from saga where starts_with(business_key, $1) and ended_at is not null
