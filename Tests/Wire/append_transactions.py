"""Are transactions strictly serializable? The list-append checker, after Kingsbury's Elle.

Each transaction appends unique tokens to some keys and reads some keys. A key's value is the list of
tokens appended so far, so one last read of a key tells the order of all its writes. Then every other
read must be a prefix, and the transactions are nodes of a graph:

    ww  writer of token i      ->  writer of token i+1
    wr  writer of a read's last token  ->  the reader
    rw  reader                 ->  writer of the token after the last one it saw
    rt  a transaction          ->  every one that began after it ended

Real time is kept with few edges by a chain of barriers, sorted by end: each transaction leads to its
barrier, each barrier to the next, and each transaction starts from the last barrier before it. A
cycle means that no order explains what was seen.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

TOKEN_BYTES = 8


class Transaction(NamedTuple):
    """`appends` are (key, token), `reads` are (key, value); in the order of the transaction.

    A transaction reads before it appends, so its reads do not contain its own tokens.
    """

    client: int
    start: float
    end: float
    reads: tuple[tuple[bytes, bytes], ...]
    appends: tuple[tuple[bytes, bytes], ...]


def tokens(value: bytes | None) -> list[bytes]:
    value = value or b""
    return [value[at : at + TOKEN_BYTES] for at in range(0, len(value), TOKEN_BYTES)]


def violations(transactions: list[Transaction], final: dict[bytes, bytes]) -> list[str]:
    """What is wrong with the history, given the last value of every key."""
    problems: list[str] = []
    writer: dict[bytes, int] = {}
    for number, transaction in enumerate(transactions):
        for _, token in transaction.appends:
            writer[token] = number
    order = {key: tokens(value) for key, value in final.items()}
    edges: list[set[int]] = [set() for _ in transactions]

    for key, written in order.items():
        if len(set(written)) != len(written):
            problems.append(f"{key!r}: a token was appended twice")
        for token in written:
            if token not in writer:
                problems.append(f"{key!r}: token {token!r} was never appended")
        for one, following in zip(written, written[1:]):
            if one in writer and following in writer:
                edges[writer[one]].add(writer[following])
    for number, transaction in enumerate(transactions):
        for key, token in transaction.appends:
            if token not in order.get(key, ()):
                problems.append(f"{key!r}: acknowledged token {token!r} is lost")
        for key, value in transaction.reads:
            seen, written = tokens(value), order.get(key, [])
            if seen != written[: len(seen)]:
                problems.append(f"{key!r}: client {transaction.client} read what is not a prefix: "
                                f"{seen[-3:]} after {len(seen)} tokens")
                continue
            if seen and seen[-1] in writer:
                edges[writer[seen[-1]]].add(number)
            if len(seen) < len(written) and written[len(seen)] in writer:
                edges[number].add(writer[written[len(seen)]])
    if problems:
        return problems
    for number, targets in enumerate(edges):
        targets.discard(number)

    count = len(transactions)
    by_end = sorted(range(count), key=lambda number: transactions[number].end)
    ends = [transactions[number].end for number in by_end]
    edges += [set() for _ in by_end]
    for place, number in enumerate(by_end):
        edges[number].add(count + place)
        if place + 1 < count:
            edges[count + place].add(count + place + 1)
    for number, transaction in enumerate(transactions):
        before = bisect_left(ends, transaction.start) - 1
        if before >= 0:
            edges[count + before].add(number)
    for component in cycles(edges):
        members = [transactions[number] for number in component if number < count]
        problems.append("no order explains these transactions:\n  " + "\n  ".join(map(str, members[:6])))
    return problems


def cycles(edges: list[set[int]]) -> list[list[int]]:
    """Strongly connected components of more than one node: Tarjan's algorithm without recursion."""
    index: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    found = []
    for root in range(len(edges)):
        if root in index:
            continue
        work = [(root, iter(edges[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(edges[target])))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    if len(component) > 1:
                        found.append(component)
    return found
