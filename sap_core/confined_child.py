"""Child process of `sap_core.confined`: ``python -P confined_child.py SCRIPT MEMORY``.

Only the standard library is imported; nothing of the package is on its path. It sets its own limits, then answers
requests from standard input on standard output until the input closes.
"""

import json
import os
import resource
import runpy
import sys


def main(script: str, memory: int) -> None:
    """Set the memory limit, load ``script``, and answer one JSON request per line until standard input closes.

    Args:
        script: Python file with ``answer(request) -> dict``.
        memory: Bytes of address space.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # it writes no file
    # Whatever the script prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    answer = runpy.run_path(script)["answer"]
    for line in sys.stdin:
        call = json.loads(line)
        used = resource.getrusage(resource.RUSAGE_SELF)
        allowed = int(used.ru_utime + used.ru_stime + call["seconds"]) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (allowed, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        try:
            found = json.dumps(answer(call["request"]))
        except MemoryError:
            found = json.dumps({"error": "not enough memory"})
        except BaseException as error:  # a panic of a Rust library is no Exception
            reason = " ".join(str(error).split())[:200]
            found = json.dumps({"error": f"{type(error).__name__}: {reason}"})
        answers.write(found + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
