"""What Pgpool-II's operators know: SHOW POOL_NODES and its kin in any session, and what the pcp_* tools talk to."""
