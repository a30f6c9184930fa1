# Every target sets itself up: scripts/bootstrap creates .venv on first use and leaves it alone while nothing has changed.
SHELL = /bin/sh
.DEFAULT_GOAL = help
.PHONY: help demo test test-long deployments oracle regress isolation fuzz fuzz-session suites bouncer-suite bench bench-failover bench-micro build ready check clean

PYTHON_IN_VENV = .venv/bin/python

help:
	@echo 'make demo               a real cluster (etcd, 3 x PostgreSQL under Patroni), pgrouter and a workload; Ctrl-C ends it'
	@echo 'make demo FAILOVER=1    the same, and the leader is killed meanwhile (also: SECONDS=60 PORT=6432 MEMBERS=3 PLAIN=1)'
	@echo 'make test               the tests'
	@echo 'make test-long          the tests, the slow ones too, in random order'
	@echo 'make deployments        the commands of five real deployments, with the router in the middle (docs/deployments.md;'
	@echo '                        DEPLOYMENTS="--only 003")'
	@echo 'make oracle             what the router gets wrong, by running PostgreSQL'\''s regression SQL on a primary and a standby'
	@echo '                        (ORACLE="--only join plpgsql", ORACLE=--hand; reports in .oracle/report)'
	@echo 'make regress            PostgreSQL'\''s regression files with psql, through the router and directly, compared'
	@echo '                        (REGRESS="--interleaved 4 --pool 4", "--replicas", "--contrib", "--only join"; outputs in .oracle/regress)'
	@echo 'make isolation          PostgreSQL'\''s isolation specs, through the router and directly, compared'
	@echo '                        (ISOLATION="--pool 4", "--replicas", "--only deadlock-hard"; outputs in .oracle/isolation)'
	@echo 'make fuzz               an hour of any bytes for every decoder and state machine, guided by coverage (atheris); what is'
	@echo '                        found is in .fuzz/crashes (FUZZ="--minutes 5", FUZZ="--only scram server_bytes")'
	@echo 'make fuzz-session       half an hour of random sessions, through the router and directly, compared step by step'
	@echo '                        (FUZZ="--minutes 5", FUZZ="--seed story7")'
	@echo 'make bench              pgrouter beside PgBouncer, HAProxy, Pgpool-II and a bare relay on real servers (15 minutes)'
	@echo '                        (BENCH=--quick, BENCH="--only simple rows --subjects relay pgrouter", BENCH=--help; docs/performance.md)'
	@echo 'make bench-failover     leader changes of a real Patroni cluster under load, through all of them at the same time (9 minutes)'
	@echo '                        (BENCH=--quick, BENCH="--only node --subjects haproxy pgrouter"; docs/failover-bench.md)'
	@echo 'make bench-micro        nanoseconds per frame, per statement routed, per server acquired and released'
	@echo 'make suites             the tests of psycopg, asyncpg, SQLAlchemy, Django and pg8000, through the router and directly,'
	@echo '                        compared (SUITES="--only psycopg --runs direct pooled"; outputs in .oracle/suites)'
	@echo 'make bouncer-suite      PgBouncer'\''s own tests against pgrouter-bouncer; downloads its source (SUITE="-- test_copy.py")'
	@echo 'make build              compile the modules of the data path (a minute): several times faster than the plain Python'
	@echo '                        that the demo runs otherwise; needs a C compiler'
	@echo 'make check              ruff, the import rules and types'
	@echo 'make clean              remove everything that was built here, .venv too'

demo:
	@scripts/bootstrap demo
	@$(PYTHON_IN_VENV) -m pgrouter.cli.demo $(if $(FAILOVER),--failover) $(if $(SECONDS),--seconds $(SECONDS)) \
	    $(if $(PORT),--port $(PORT)) $(if $(MEMBERS),--members $(MEMBERS)) $(if $(PLAIN),--plain)

test: ready
	@$(PYTHON_IN_VENV) -m pytest -m 'not slow' -p no:randomly -n 2 --dist loadfile $(PYTEST)

test-long: ready
	@$(PYTHON_IN_VENV) -m pytest $(PYTEST)

deployments: ready
	@PYTHONPATH=tests $(PYTHON_IN_VENV) -m deployments $(DEPLOYMENTS)

oracle: ready
	@PYTHONPATH=tests $(PYTHON_IN_VENV) -m oracle $(ORACLE)

regress: ready
	@PYTHONPATH=tests $(PYTHON_IN_VENV) -m regress $(REGRESS)

isolation: ready
	@PYTHONPATH=tests $(PYTHON_IN_VENV) -m isolation $(ISOLATION)

fuzz: ready
	@$(PYTHON_IN_VENV) -c 'import atheris' 2>/dev/null || .venv/bin/pip install --quiet -e '.[fuzz]'
	@PYTHONPATH=tests nice $(PYTHON_IN_VENV) -m fuzz $(FUZZ)

bouncer-suite: ready
	@PYTHONPATH=tests nice $(PYTHON_IN_VENV) -m bouncer_suite $(SUITE)

fuzz-session: ready
	@PYTHONPATH=tests $(PYTHON_IN_VENV) -m session_fuzz $(FUZZ)

bench: ready
	@$(PYTHON_IN_VENV) -m bench $(BENCH)

bench-failover: ready
	@$(PYTHON_IN_VENV) -m bench.failover $(BENCH)

bench-micro: ready
	@$(PYTHON_IN_VENV) -m bench.micro $(BENCH)

suites: ready
	@PYTHONPATH=tests $(PYTHON_IN_VENV) -m suites $(SUITES)

build:
	@scripts/bootstrap build

ready:
	@scripts/bootstrap test

check: ready
	@$(PYTHON_IN_VENV) -m ruff check .
	@$(PYTHON_IN_VENV) -m ruff format --check --quiet .
	@.venv/bin/lint-imports
	@.venv/bin/mypy

clean:
	rm -rf .venv .oracle .fuzz build dist *.egg-info .hypothesis .import_linter_cache .ruff_cache .mypy_cache
	find pgrouter \( -name '*.so' -o -name '*.c' \) -delete
	find pgrouter tests scripts bench -name __pycache__ -prune -exec rm -rf {} +
