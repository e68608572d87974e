"""Read models of what was committed: always read again, never believed from a message."""
