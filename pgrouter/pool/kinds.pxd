# kinds.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    WRITE = 0
    READ = 1
    FRESH = 2
    AGAIN = 3
    OWN = 4
    OTHER_READ = 5
    OTHER_WRITE = 6
