"""Runs a command in which io_uring_setup fails with EPERM, as container runtimes' filters make it.

usage: without_io_uring.py COMMAND [ARGUMENT...]
"""

import ctypes
import os
import struct
import sys

# linux/prctl.h, linux/seccomp.h, linux/filter.h
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
JUMP_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

EPERM = 1
IO_URING_SETUP = 425  # on every architecture

# struct sock_filter { code, jump if true, jump if false, constant }
FILTER = [
    (LOAD_WORD, 0, 0, 0),  # seccomp_data.nr
    (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
    (RETURN, 0, 0, SECCOMP_RET_ERRNO | EPERM),
    (RETURN, 0, 0, SECCOMP_RET_ALLOW),
]


class Program(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def prctl(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(*(ctypes.c_ulong(argument) for argument in arguments)) != 0:
        sys.exit(f"prctl{arguments}: {os.strerror(ctypes.get_errno())}")


instructions = b"".join(struct.pack("=HBBI", *instruction) for instruction in FILTER)
buffer = ctypes.create_string_buffer(instructions, len(instructions))
program = Program(len(FILTER), ctypes.cast(buffer, ctypes.c_void_p))
prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0)
os.execvp(sys.argv[1], sys.argv[1:])
