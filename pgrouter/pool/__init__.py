"""Which server connection serves which client: pools per database and user, FIFO queues, limits, the janitor."""
