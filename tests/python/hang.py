"""Runs a program, and on SIGUSR1 stops one of its threads for good, and says so on standard error.

usage: hang.py THREAD PROGRAM [ARGUMENT...]

THREAD is how the thread's name begins. From outside it then looks like one that never comes back from its work. A
signal would stop the whole process; a tracer stops a single thread, and may always trace its own child.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import sys

# linux/ptrace.h, linux/prctl.h
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)


def ptrace(request: int, thread: int) -> None:
    nothing = ctypes.c_void_p(0)
    if libc.ptrace(ctypes.c_long(request), ctypes.c_long(thread), nothing, nothing) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace: {os.strerror(ctypes.get_errno())}")


def stop_thread(pid: int, name: str) -> None:
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    thread = next(int(task.name) for task in tasks if (task / "comm").read_text().startswith(name))
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    print('{"message":"stopped"}', file=sys.stderr, flush=True)


def main() -> None:
    name, *command = sys.argv[1:]
    signal.signal(signal.SIGUSR1, lambda *_: stop_thread(program.pid, name))
    # The program does not outlive us, whatever ends us.
    die_too = lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_too)
    while program.poll() is None:
        signal.pause()


main()
