"""How kernels are compiled: what is compiled is kept on disk, and a division by zero makes inf or nan, as in numpy.

Most of what numba compiles of a function with dozens of arrays is how Python calls it. `inner` leaves that out, so a
start without compiled kernels takes two thirds of the time; Python cannot call such a function: the process would die.
"""

from functools import partial

from numba import njit

kernel = partial(njit, cache=True, error_model="numpy", no_cfunc_wrapper=True)
inner = partial(kernel, no_cpython_wrapper=True)
