# flags.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    REPEATABLE = 16
    ENDS = 1
    BEGINS = 2
    COMMITS = 4
    OVER = 8
    UNUSUAL = 16
    PLAIN = 1
    SPLIT = 2
    READS_NOTHING = 4
    HAS_STARTUP = 8
    ASKED = 1
    OPEN = 2
    FOREIGN = 0
    OWN = 1
    TO_DISCARD = 2
