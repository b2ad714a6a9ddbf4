"""Compiles profiles with libseccomp the way runc drives it, for the differential test.

Standard input: a JSON list of {"native": name, "default": verdict, "architectures": [name], "rules": [[names, verdict,
args]], "split": bool}, where args is a list of [index, operator, value, valueTwo] and a verdict is the kernel's number.
Standard output: for each profile, in order, {"programs": [hexadecimal] or null, "unknown": [names that libseccomp lacks]}:
one program, or with "split" one for each of the architectures with the names that this architecture has.
"""
import json
import os
import sys
import tempfile

import seccomp

OPERATORS = {name: getattr(seccomp, name) for name in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")}


def action(verdict):
    # The kernel's numbers are libseccomp's. The module takes a signed int: SCMP_ACT_KILL_PROCESS is the lowest.
    return verdict - (1 << 32) if verdict & 1 << 31 else verdict


def known(name):
    return seccomp.resolve_syscall(seccomp.Arch(seccomp.Arch.NATIVE), name) != -1


def compile(profile, architectures, has):
    filter = seccomp.SyscallFilter(action(profile["default"]))
    for name in architectures:
        if not filter.exist_arch(seccomp.Arch(name)):
            filter.add_arch(seccomp.Arch(name))
    # A filter always begins with the architecture of this machine.
    if seccomp.system_arch() not in [int(seccomp.Arch(name)) & 0xFFFFFFFF for name in architectures]:
        filter.remove_arch(seccomp.Arch())
    for names, verdict, args in profile["rules"]:
        if verdict == profile["default"]:
            continue
        conditions = [seccomp.Arg(index, OPERATORS[op], value, two) for index, op, value, two in args]
        alternatives = len({arg[0] for arg in args}) < len(args)
        for name in filter_names(names, has):
            for each in [[c] for c in conditions] if alternatives else [conditions]:
                filter.add_rule(action(verdict), name, *each)
    with tempfile.TemporaryFile() as file:
        filter.export_bpf(file)
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        return os.read(file.fileno(), 1 << 20).hex()


def filter_names(names, has):
    return [name for name in names if has(name)]


def compile_all(profile):
    if not profile["split"]:
        return [compile(profile, [profile["native"], *profile["architectures"]], known)]

    def on(arch):
        return lambda name: known(name) and seccomp.resolve_syscall(seccomp.Arch(arch), name) >= 0

    return [compile(profile, [arch], on(arch)) for arch in profile["architectures"]]


answers = []
for profile in json.load(sys.stdin):
    names = {name for rule in profile["rules"] for name in rule[0]}
    try:
        programs = compile_all(profile)
    except (RuntimeError, OSError):
        programs = None
    answers.append({"programs": programs, "unknown": sorted(name for name in names if not known(name))})
json.dump(answers, sys.stdout)
