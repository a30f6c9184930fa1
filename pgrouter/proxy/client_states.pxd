# client_states.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    IDLE = 0
    WAITING = 1
    LINKED = 2
    BLOCKED = 3
    RESPONDING = 4
    SKIPPING = 5
    CONGESTED = 6
