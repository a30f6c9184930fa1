# requests.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    FORWARD = 0
    SKIP = 1
    FAKE = 2
    OUT_OF_SYNC = -1
    LATER = -3
    NOTHING = 0
    QUERY = 1
    FUNCTION = 2
    PARSE = 3
    PARSE_NAMED = 4
    BIND = 5
    DESCRIBE = 6
    EXECUTE = 7
    CLOSE = 8
    SYNC = 9
    COPY_END = 10
    CLOSE_NAMED = 11
    REFUSED = 12
    REFUSED_QUERY = 13
    PARSE_UNNAMED = 14
    CLOSE_UNNAMED = 15
    PARSE_FAILED = 16
    CHECK = 17
    CHECK_UNNAMED = 18
    WRONG = 0
    PART = 1
    ENDS = 2
    ABORTS = 3
    SHIFT = 2
