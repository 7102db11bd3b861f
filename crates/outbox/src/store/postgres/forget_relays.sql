-- Forgets relays that have been gone for a day. Index: a scan of a few rows. Lock: those rows. Repeat: deletes nothing.
delete from outbox_relay where alive_until < clock_timestamp() - interval '1 day'
