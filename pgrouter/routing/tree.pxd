# Types of tree.py when it is compiled.
cimport cython

cdef dict _LOOKS
cdef frozenset _READ_NODES, _LEAVES

@cython.locals(stack=list, key=str)
cpdef walk(dict root, found)
