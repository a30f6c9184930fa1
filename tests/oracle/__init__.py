"""The oracle: statements are run on a primary and on its standby, and the router is judged by what happened.

cases     the hand-written corpus, read from cases/*.sql       script    psql scripts cut into statements
servers   a primary and a standby, and what one run shows      regress   PostgreSQL's own SQL, fetched and run in order
judge     two runs -> what the statement needs                 classifier  what `pgrouter classify` says
corpus    the hand-written corpus run and judged               report    both compared: leaks and lost reads

A *leak* is a statement that needs the primary and is routed to a replica; a *lost read* is one that both servers answer
alike and that is not routed to a replica. Nothing here knows how the router decides: only its commands are called.
"""
