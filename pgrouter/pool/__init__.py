"""Which server connection serves whom: a pool per member, database and user, FIFO waiting, limits, the janitor."""
