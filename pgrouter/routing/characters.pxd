# characters.py for the C compiler: constants, and no variables that could change (tests/unit/test_constants.py)

cdef enum:
    OTHER = 0
    SPACE = 1
    WORD = 2
    DIGIT = 3
    OPERATOR = 4
    PUNCTUATION = 5
    DOT = 6
    QUOTE = 7
    DOUBLE_QUOTE = 8
    DOLLAR = 9
