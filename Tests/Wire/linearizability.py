"""Is a history of one key linearizable? The search of Wing and Gong with Lowe's memo.

Linearizability is local: each key may be checked alone, so histories stay short. The search keeps
the set of operations already placed (a bit mask) and the model's value; an operation may come next
if it began before the earliest end among those not placed. States seen before are not tried again.
"""

from __future__ import annotations

from swarm import Operation
from resp import Reply

STATES_MAX = 2_000_000


class Mismatch(Exception):
    """The model would have replied otherwise."""


class GaveUp(Exception):
    """Too many states: the history is too concurrent to decide. Counts as a failure of the test."""


def apply(value: bytes | None, command: tuple, reply: Reply) -> bytes | None:
    """The value after `command`, if a key that holds `value` may give `reply`.

    CAS stands for WATCH, GET, MULTI, SET, EXEC that succeeded: `("CAS", key, seen, new)`.
    """
    name = command[0]
    if name == "GET":
        expect(reply.value == value)
        return value
    if name == "SET":
        expect(reply.value == b"OK")
        return command[2]
    if name == "GETSET":
        expect(reply.value == value)
        return command[2]
    if name == "GETDEL":
        expect(reply.value == value)
        return None
    if name == "INCR":
        total = int(value or 0) + 1
        expect(reply.value == total)
        return b"%d" % total
    if name == "SETNX":
        expect(reply.value == (1 if value is None else 0))
        return command[2] if value is None else value
    if name == "CAS":
        expect(value == command[2])
        return command[3]
    raise ValueError(name)


def expect(holds: bool) -> None:
    if not holds:
        raise Mismatch


def is_linearizable(history: list[Operation], initial: bytes | None = None) -> bool:
    """True if some order explains every reply; all operations must concern one key."""
    operations = sorted(history, key=lambda operation: operation.start)
    count = len(operations)
    everything = (1 << count) - 1
    stack = [(0, initial)]
    seen = {(0, initial)}
    while stack:
        placed, value = stack.pop()
        if placed == everything:
            return True
        earliest_end = min(operation.end for index, operation in enumerate(operations)
                           if not placed >> index & 1)
        for index, operation in enumerate(operations):
            if placed >> index & 1:
                continue
            if operation.start > earliest_end:
                break
            try:
                after = apply(value, operation.command, operation.reply)
            except Mismatch:
                continue
            state = (placed | 1 << index, after)
            if state not in seen:
                if len(seen) >= STATES_MAX:
                    raise GaveUp
                seen.add(state)
                stack.append(state)
    return False


def violations(histories: dict[bytes, list[Operation]]) -> list[str]:
    """A readable account of each key whose history cannot be explained."""
    found = []
    for key, history in histories.items():
        if not is_linearizable(history):
            lines = [f"{operation.start:.6f}..{operation.end:.6f} client {operation.client}: "
                     f"{operation.command} -> {operation.reply}"
                     for operation in sorted(history, key=lambda operation: operation.start)]
            found.append(f"{key!r} is not linearizable:\n  " + "\n  ".join(lines))
    return found
