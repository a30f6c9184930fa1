"""Fuzzing: every decoder and state machine with any bytes. `make fuzz` is guided by coverage; the tests try the corpus.

A target (`targets`) is a function of bytes that returns, or raises what is a fault. To add one: write it there, with
some seeds. What atheris finds interesting is kept in .fuzz, what is worth keeping for good in tests/fuzz/corpus.
"""
