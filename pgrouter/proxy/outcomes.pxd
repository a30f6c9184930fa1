# outcomes.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    MORE = 0
    UNCLASSIFIED = 1
    READY = 2
    EMPTY = 3
    REFUSED = 4
    STRAY_COPY = 5
    TERMINATED = 6
    INVALID = 7
