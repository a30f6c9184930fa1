cpdef bytes authentication(int request, bytes data=*)
