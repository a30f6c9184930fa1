"""pgrouter measured beside what it takes the place of, on real servers: `make bench`.

`cases` says what is measured, `subjects` what is measured with it, `measure` takes the figures of one run, `rounds`
lets all take turns, `report` and `plots` show what came out. docs/performance.md tells how to read it.
"""
