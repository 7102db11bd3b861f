select reason || ': ' || detail from skipped_event
