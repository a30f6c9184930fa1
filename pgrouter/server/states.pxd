# states.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    DIALLING = 0
    LOGGING_IN = 1
    IDLE_STATE = 2
    ACTIVE = 3
    RESETTING = 4
    CLOSED = 5
    FORWARDING = 0
    ROUTER_ASKS = 1
    AWAITS_ANSWERS = 2
    ON_LOSS = 1
    ON_REFUSAL = 2
    RESETS = 1
    DISCARDS = 2
