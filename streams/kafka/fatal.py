"""The one way a worker stops itself: say why in one line, then end the process before anything else is
written.

Nothing is cleaned up on purpose. What a worker holds in memory is worth nothing to the next one, which reads
the truth from the broker; what could still run (a commit, a flush, a handler of an exception) could only do
harm.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import NoReturn

#: Exit code of a worker that stopped itself; a supervisor starts it again.
EXIT_CODE = 3

log = logging.getLogger("crossmargin")


def fatal(reason: str, error: BaseException | None = None) -> NoReturn:
    """Log one line (and the traceback of ``error``), then end the process, from whatever thread."""
    log.critical("stopped: %s", reason, exc_info=error)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(EXIT_CODE)
