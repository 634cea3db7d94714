"""Clients that keep copies of keys as CLIENT TRACKING lets them, and the order that is held against them.

Writers give every key a version that only grows. Before a caching client sends something it notes which
versions were acknowledged to their writers: with the first reply to what it then sends, the server has told
it of all of them, so no copy may be older. A writer also notes, in one pipeline behind a write and without
waiting for it, what it has just written: a client that reads such a note may not have an older copy either,
though nobody has acknowledged the write.
"""

from __future__ import annotations

import random
import threading
import time

from resp import Connection, Reply, encode

WRITERS = 3
KEYS_PER_WRITER = 24


def key_of(writer: int, number: int) -> bytes:
    return b"v:%d:%d" % (writer, number)


class Copies:
    """The local copies of one client."""

    def __init__(self, forgetful: float = 0.0):
        self.versions: dict[bytes, int] = {}
        self.told = 0
        #: How often news is ignored: what the checker must notice.
        self.forgetful = forgetful

    def drop(self, keys: Reply) -> None:
        if random.random() < self.forgetful:
            return
        self.told += 1
        if keys.is_null:
            self.versions.clear()
            return
        for key in keys.value:
            self.versions.pop(key.value, None)


class Run:
    """Writers and caching clients of one server, until `stop`."""

    def __init__(self, address: tuple[str, int], seed: str, forgetful: float = 0.0):
        self.address = address
        self.seed = seed
        self.forgetful = forgetful
        self.acknowledged: dict[bytes, int] = {}
        self.problems: list[str] = []
        self.checks = 0
        self.hits = 0
        self.news = 0
        self.over = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, modes: list[str]) -> None:
        for number in range(WRITERS):
            self.threads.append(threading.Thread(target=self.guard, args=(self.write, number)))
        for number, mode in enumerate(modes):
            self.threads.append(threading.Thread(target=self.guard, args=(self.read, number, mode)))
        for thread in self.threads:
            thread.start()

    def stop(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def guard(self, body, *arguments) -> None:
        try:
            body(*arguments)
        except Exception as problem:  # a thread's end is a finding like any other
            self.problems.append(f"{body.__name__}{arguments}: {problem!r}")

    # Writers

    def write(self, number: int) -> None:
        rng = random.Random(f"{self.seed}.w{number}")
        versions = [0] * KEYS_PER_WRITER
        with Connection(self.address, protocol=2) as client:
            while not self.over.is_set():
                requests, written = [], []
                for _ in range(rng.randint(1, 6)):
                    chosen = rng.sample(range(KEYS_PER_WRITER), rng.randint(1, 3))
                    for which in chosen:
                        versions[which] += 1
                    pairs = [part for which in chosen for part in (key_of(number, which), versions[which])]
                    form = rng.randrange(4)
                    if form == 0:
                        requests.append(encode("MSET", *pairs))
                        count = 1
                    elif form == 1:
                        requests += [encode("MULTI"), *(encode("SET", *pairs[at:at + 2])
                                                        for at in range(0, len(pairs), 2)), encode("EXEC")]
                        count = 2 + len(chosen)
                    elif form == 2:
                        # Gone for a moment, then there again.
                        requests += [encode("DEL", *pairs[::2]), encode("MSET", *pairs)]
                        count = 2
                    else:
                        requests += [encode("SET", *pairs[at:at + 2], "PX", 100_000)
                                     for at in range(0, len(pairs), 2)]
                        count = len(chosen)
                    requests.append(encode("SET", f"note:{number}", " ".join(
                        f"{which}={versions[which]}" for which in chosen)))
                    written.append((count + 1, [(key_of(number, w), versions[w]) for w in chosen]))
                client.send_raw(b"".join(requests))
                for count, pairs in written:
                    for reply in client.read_many(count):
                        assert not reply.is_error, reply
                    for key, version in pairs:
                        self.acknowledged[key] = version

    # Caching clients

    def read(self, number: int, mode: str) -> None:
        rng = random.Random(f"{self.seed}.r{number}")
        copies = Copies(self.forgetful)
        with Connection(self.address, protocol=3) as client:
            client.ok("CLIENT", "TRACKING", "ON", *mode.split())
            while not self.over.is_set():
                before = dict(self.acknowledged)
                plan: list[tuple] = []
                requests: list[bytes] = []
                for _ in range(rng.choice((1, 1, 2, 8))):
                    self.ask(rng, mode, copies, plan, requests)
                client.send_raw(b"".join(requests))
                for position, (kind, *detail) in enumerate(plan):
                    reply = self.next_reply(client, copies)
                    if position == 0:
                        self.compare(copies, before, f"{mode!r}: acknowledged before it asked")
                    self.take(kind, detail, reply, copies, mode)
            self.news += copies.told
            self.settle(client, copies, mode)

    def ask(self, rng, mode, copies, plan, requests) -> None:
        keys = [key_of(rng.randrange(WRITERS), rng.randrange(KEYS_PER_WRITER)) for _ in range(3)]
        roll = rng.random()
        if roll < 0.15:
            plan.append(("pong",))
            requests.append(encode("PING"))
        elif roll < 0.35:
            writer = rng.randrange(WRITERS)
            plan.append(("note", writer))
            requests.append(encode("GET", f"note:{writer}"))
        elif roll < 0.40:
            plan.append(("other",))
            requests.append(encode("SET", f"own:{rng.randrange(10)}", 1))
        elif keys[0] in copies.versions and roll < 0.8:
            # A hit: nothing is asked. What it shows is checked with every reply.
            self.hits += 1
            plan.append(("pong",))
            requests.append(encode("PING"))
        else:
            if "OPTIN" in mode:
                plan.append(("other",))
                requests.append(encode("CLIENT", "CACHING", "YES"))
            if roll < 0.9:
                plan.append(("value", keys[:1]))
                requests.append(encode("GET", keys[0]))
            elif roll < 0.95 or "OPTIN" in mode:
                plan.append(("value", keys))
                requests.append(encode("MGET", *keys))
            else:
                plan += [("other",), ("other",), ("exec", keys[:2])]
                requests += [encode("MULTI"), encode("MGET", *keys[:2]), encode("EXEC")]

    def next_reply(self, client: Connection, copies: Copies) -> Reply:
        while True:
            reply = client.read()
            if reply.kind != ">":
                assert not reply.is_error, reply
                return reply
            assert reply.value[0].value == b"invalidate", reply
            copies.drop(reply.value[1])

    def take(self, kind: str, detail: list, reply: Reply, copies: Copies, mode: str) -> None:
        if kind == "note" and not reply.is_null:
            known = {}
            for pair in reply.value.decode().split():
                which, version = pair.split("=")
                known[key_of(detail[0], int(which))] = int(version)
            self.compare(copies, known, f"{mode!r}: written before the note that it read")
        elif kind in ("value", "exec"):
            values = reply.value[0].value if kind == "exec" else reply.value
            if len(detail[0]) == 1:
                values = (reply,)
            for key, value in zip(detail[0], values):
                # A key that is missing has no version of its own: it is not kept.
                if value.is_null:
                    copies.versions.pop(key, None)
                else:
                    copies.versions[key] = int(value.value)

    def compare(self, copies: Copies, known: dict[bytes, int], what: str) -> None:
        for key, version in known.items():
            held = copies.versions.get(key)
            if held is not None:
                self.checks += 1
                if held < version:
                    self.problems.append(f"{what}: {key!r} is {version}, the copy {held}")

    def settle(self, client: Connection, copies: Copies, mode: str) -> None:
        """Writers have ended, or are about to: in the end every copy is true."""
        deadline = time.monotonic() + 10
        while any(thread.is_alive() for thread in self.threads[:WRITERS]) and time.monotonic() < deadline:
            time.sleep(0.01)
        client.send_raw(encode("PING"))
        self.next_reply(client, copies)
        with Connection(self.address) as other:
            for key, held in copies.versions.items():
                now = int(other.ok("GET", key))
                if held != now:
                    self.problems.append(f"{mode!r}: in the end {key!r} is {now}, the copy {held}")
