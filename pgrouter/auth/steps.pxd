# The numbers of steps.py, for the C compiler.

cdef enum:
    READ_PACKET = 1
    READ_MESSAGE = 2
    READ_BYTE = 3
