# flags.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    READS = 1
    WRITES = 2
    DRAWS = 4
    STATELESS = 8
