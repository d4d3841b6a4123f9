"""Gives up what a process may do, then becomes the interpreter: Landlock, seccomp, capabilities.

A program of its own, run as `python -I -S launcher.py JSON`, with the standard library only: it
calls the kernel directly, needs no privileges, and nothing of it is left in the process but the
rules. Without arguments it prints what the kernel offers. The rules hold for all that the process
becomes or starts, and cannot be taken back.

The JSON has ``read``, ``write`` and ``execute`` (paths), ``rlimits``, ``layers``, ``parent`` (the
process id without which there is nothing to live for) and either ``argv``, a program to become, or
``script``, a Python file to run in this process, which may then start no program at all.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import runpy
import signal
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_CAP_AMBIENT = 22, 24, 47


def main(order: dict[str, object]) -> None:
    """Confine this process and carry on as what ``order`` says; see the module's docstring."""
    layers = set(order["layers"])  # type: ignore[call-overload]
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if order["parent"] is not None and os.getppid() != order["parent"]:
        sys.exit("the host is gone")
    be_taken_first()
    for name, value in order["rlimits"].items():  # type: ignore[attr-defined]
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    drop_capabilities()
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    if "landlock" in layers:
        landlock(order["read"], order["write"], order["execute"])
    if "seccomp" in layers:
        seccomp(programs="argv" in order)
    if "argv" in order:
        argv = order["argv"]
        os.execve(argv[0], argv, dict(os.environ))  # type: ignore[index,arg-type]  # noqa: S606
    sys.argv = [str(order["script"]), json.dumps(order["arguments"])]
    runpy.run_path(str(order["script"]), run_name="__main__")


def be_taken_first() -> None:
    """When memory runs out, the kernel is to end this process, not its host."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:  # a /proc that cannot be written to
        pass


def prctl(option: int, value: int, third: int = 0) -> None:
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(third), 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


def drop_capabilities() -> None:
    """Root without any of root's powers, also after the next program."""
    for capability in range(64):
        libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)  # not permitted: not root
    libc.prctl(PR_CAP_AMBIENT, ctypes.c_ulong(4), 0, 0, 0)
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    if libc.capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


# --- Landlock: which files, no TCP, no signals to other processes ------------------------------------

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, MAKE_SYM = 1 << 4, 1 << 5, 1 << 7, 1 << 8, 1 << 12
REFER, TRUNCATE = 1 << 13, 1 << 14
READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SYM
FILE_RIGHTS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE


def landlock_abi() -> int:
    """The version that the kernel speaks, 0 for none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def landlock(read: object, write: object, execute: object) -> None:
    abi = landlock_abi()
    if not abi:
        raise OSError("the kernel has no Landlock")
    handled = (1 << (13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16)) - 1
    attributes = struct.pack("=QQQ", handled, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules = libc.syscall(
        CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    if rules < 0:
        raise OSError(ctypes.get_errno(), "landlock_create_ruleset")
    for paths, rights in ((read, READ), (write, WRITE | REFER | TRUNCATE), (execute, EXECUTE)):
        for path in paths:  # type: ignore[attr-defined]
            if os.path.exists(path):
                allow(rules, path, rights & handled)
    if libc.syscall(RESTRICT_SELF, rules, ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), "landlock_restrict_self")
    os.close(rules)


def allow(rules: int, path: str, rights: int) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= FILE_RIGHTS  # others are refused for files
    if libc.syscall(ADD_RULE, rules, 1, struct.pack("=Qi", rights, handle), ctypes.c_uint32(0)):
        raise OSError(ctypes.get_errno(), f"landlock_add_rule {path}")
    os.close(handle)


# --- seccomp: which system calls ----------------------------------------------------------------------

# Name: number on x86_64, number on aarch64.
DENIED = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "fork": (57, None),
    "vfork": (58, None),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "ptrace": (101, 117),
    "kcmp": (312, 272),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "setns": (308, 268),
    "perf_event_open": (298, 241),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "process_mrelease": (448, 448),
    # Memory that belongs to no process, or is no part of what a process is seen to take.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}
# Landlock does not ask who changes a file's mode, owner, times or attributes. These do nothing and say
# that they have done it: copying and unpacking files goes on.
IGNORED = {
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
UNTIL_ABI_3 = {"truncate": (76, 45)}  # later versions of Landlock govern it
PROGRAMS = {"execve": (59, 221), "execveat": (322, 281)}
CLONE, CLONE3, SOCKETPAIR, TGKILL, PRLIMIT = (56, 220), 435, (53, 199), (234, 131), (302, 261)
PRCTL = (157, 167)
CLONE_THREAD, CLONE_NEW = 0x00010000, 0x7E020000
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
LOAD, EQUAL, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x45, 0x54, 0x06
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
DONE = 0x00050000  # nothing is done, and no error is told
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16


def seccomp(*, programs: bool) -> None:
    """Refuse sockets, processes, signals to others and what is for administrators."""
    code = b"".join(struct.pack("=HBBI", *line) for line in seccomp_program(programs=programs))
    buffer = ctypes.create_string_buffer(code)
    program = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def seccomp_program(*, programs: bool) -> list[tuple[int, int, int, int]]:
    """Lines of classic BPF: operation, lines to skip if so, lines to skip if not, value."""
    column, architecture = ARCHITECTURES[platform.machine()]
    lines = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
    ]
    if column == 0:  # the x32 numbers of the same calls
        lines += [(0x35, 0, 1, 0x40000000), (RETURN, 0, 0, EPERM)]
    denied = DENIED | ({} if programs else PROGRAMS)
    if landlock_abi() < 3:
        denied |= UNTIL_ABI_3
    for calls, answer in ((denied, EPERM), (IGNORED, DONE)):
        for numbers in calls.values():
            if (number := numbers[column]) is not None:
                lines += [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]
    lines += [  # who starts this process is whom it lives for
        (EQUAL, 0, 4, PRCTL[column]),
        (LOAD, 0, 0, ARGUMENT),
        (EQUAL, 0, 1, PR_SET_PDEATHSIG),
        (RETURN, 0, 0, EPERM),
        (RETURN, 0, 0, ALLOW),
    ]
    lines += [(EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ENOSYS)]  # libc then uses clone
    lines += [  # threads, no processes
        (EQUAL, 0, 5, CLONE[column]),
        (LOAD, 0, 0, ARGUMENT),
        (ANY_BIT, 2, 0, CLONE_NEW),
        (ANY_BIT, 0, 1, CLONE_THREAD),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, EPERM),
    ]
    for number, argument, mask, value in (
        (SOCKETPAIR[column], 1, 0xF, 1),  # streams only: datagrams could be sent elsewhere
        (TGKILL[column], 0, 0xFFFFFFFF, os.getpid()),
        (PRLIMIT[column], 0, 0xFFFFFFFF, 0),
    ):
        lines += [
            (EQUAL, 0, 5, number),
            (LOAD, 0, 0, ARGUMENT + 8 * argument),
            (AND, 0, 0, mask),
            (EQUAL, 0, 1, value),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, EPERM),
        ]
    return [*lines, (RETURN, 0, 0, ALLOW)]


def seccomp_works() -> bool:
    """Whether this kernel takes filters; asked with an address that it would refuse to read."""
    if platform.machine() not in ARCHITECTURES:
        return False
    libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), None, 0, 0)
    return ctypes.get_errno() == 14  # EFAULT: it would have read it


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(json.loads(sys.argv[1]))
    else:
        sys.stdout.write(json.dumps({"landlock": landlock_abi(), "seccomp": seccomp_works()}))
