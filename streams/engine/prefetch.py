"""Asking for memory ahead of its use, for kernels that visit accounts in no order of memory.

A line that is in no cache takes as long to come as hundreds of instructions; a processor that is told early has many on
their way at once.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

#: How many rows before its own what a row's numbers lead to is fetched, and then what lies there leads to.
FAR, NEAR = 24, 12

#: Arguments of LLVM's prefetch: to be read, to be kept in every cache, of data.
_READ, _KEEP, _DATA = 0, 3, 1


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Have the memory of ``array[index]`` fetched; nothing is read, and any index will do."""
    del typing_context, index  # any context, any integer
    signature = types.void(array, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, _ = signature.args
        values, at = arguments
        view = context.make_array(kind)(context, builder, values)
        item = cgutils.get_item_pointer(context, builder, kind, view, [at], wraparound=False)
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        of_llvm = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, of_llvm, "llvm.prefetch.p0")
        builder.call(function, [builder.bitcast(item, byte), *(word(flag) for flag in (_READ, _KEEP, _DATA))])
        return context.get_dummy_value()

    return signature, generate
