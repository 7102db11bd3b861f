-- Overwrites what is deleted wherever that writes no further page. A property of the connection; no lock; a repeat is the same.
pragma secure_delete = fast
