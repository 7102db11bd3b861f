-- Waits until no append of the lane is under way, and lets none begin before this transaction has ended (primary key of
-- `lane`, FOR UPDATE against the appends' FOR SHARE). A repeat finds it locked by itself.
select epoch from lane where id = $1 for update
