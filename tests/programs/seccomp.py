#!/usr/bin/python -IS
"""Run a program under a filter that denies system calls: ERRNO NAME[,NAME]... PROGRAM [ARG]..."""

import ctypes
import errno
import os
import struct
import sys

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the classic BPF
_NUMBERS: dict[str, dict[str, tuple[int, ...]]] = {
    "x86_64": {
        "setitimer": (38,),
        "ioctl": (16,),
        "getrandom": (318,),
        "poll": (7, 271),
        "select": (23, 270),
        "mremap": (25,),
    },
    "aarch64": {
        "setitimer": (103,),
        "ioctl": (29,),
        "getrandom": (278,),
        "poll": (73,),
        "select": (72,),
        "mremap": (216,),
    },
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def deny(code: int, names: list[str]) -> None:
    """Let these system calls fail with the error `code` from here on, also in programs."""
    numbers = [number for name in names for number in _NUMBERS[os.uname().machine][name]]
    instructions = [(_LOAD_NUMBER, 0, 0, 0)]
    instructions += [
        (_JUMP_IF_EQUAL, len(numbers) - index, 0, number) for index, number in enumerate(numbers)
    ]
    instructions += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | code)]
    code_bytes = b"".join(struct.pack("HBBI", *one) for one in instructions)
    program = _Program(len(instructions), code_bytes)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "seccomp")


deny(getattr(errno, sys.argv[1]), sys.argv[2].split(","))
os.execv(sys.argv[3], sys.argv[3:])
