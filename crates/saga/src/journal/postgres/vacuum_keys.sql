-- Removes what was deleted from the table's own pages. Waits for nobody but another vacuum; a repeat finds nothing.
vacuum (truncate false) saga_key
