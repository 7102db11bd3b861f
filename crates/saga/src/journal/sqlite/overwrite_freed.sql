-- Overwrites what is deleted, whole pages that are freed with it included. A property of the connection; no lock; a repeat is
-- the same.
pragma secure_delete = on
