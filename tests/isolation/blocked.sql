-- isolationtester asks by the process id of a session's login whether that session waits for another. Through a pooler
-- this is the router's number for a client; the server process that works for it right now is found by the
-- application_name that isolationtester has given to the session, and that follows it to every server.
create table isolation_sessions (place int, name text);
set allow_system_table_mods = on;
update pg_proc set proname = 'pg_isolation_test_session_is_blocked_by_pid'  -- a function of that OID stays the one in C
  where proname = 'pg_isolation_test_session_is_blocked';
create function pg_catalog.pg_isolation_test_session_is_blocked(session int, sessions int[]) returns boolean
  language sql volatile parallel unsafe as $$
    select coalesce(bool_or(
        pg_catalog.pg_blocking_pids(a.pid) && array(
          select o.pid from pg_catalog.pg_stat_activity o
          where o.datname = pg_catalog.current_database() and o.application_name like 'isolation/%' and o.pid <> a.pid)
        or pg_catalog.pg_safe_snapshot_blocking_pids(a.pid) <> '{}'), false)
      from pg_catalog.pg_stat_activity a
      where a.datname = pg_catalog.current_database() and a.state = 'active' and a.backend_type = 'client backend'
        and a.application_name = 'isolation/' || (
          select s.name from public.isolation_sessions s
          where s.place = pg_catalog.array_position(sessions, session))
  $$;
