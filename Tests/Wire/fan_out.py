#!/usr/bin/env python3
"""Publishers and subscribers, and everything that may happen to them, with an account of every message.

Publishers number their messages per channel. Healthy subscribers listen to some channels and patterns
to the end and must get exactly what was published, in order, once for each subscription; others come
and go and must get a gapless run from the reply to SUBSCRIBE to that to UNSUBSCRIBE; some stall until
the server closes them at their limit, some are killed. The sum of PUBLISH's replies is what was sent.

    fan_out.py [--seconds N] [--seed N] [--loops N] [--subscribers N]
"""

from __future__ import annotations

import argparse
import random
import selectors
import socket
import sys
import threading
import time
from pathlib import Path

from resp import Closed, Connection, Incomplete, Reply, encode, parse
from servers import MARTLET, Server

CHANNELS = [b"channel:%02d" % number for number in range(100)]
PATTERNS = [b"channel:%d*" % number for number in range(10)] + [b"*:?%d" % number for number in range(10)]
PAYLOAD = b"x" * 600
HARD_LIMIT_BYTES = 1 << 18
STALLED_BUFFER_BYTES = 1 << 16
BURST = 16


def covers(pattern: bytes, channel: bytes) -> bool:
    """Whether one of `PATTERNS` matches one of `CHANNELS`."""
    return channel.startswith(pattern[:-1]) if pattern.endswith(b"*") else channel.endswith(pattern[-1:])


def kernel_bytes_max() -> int:
    """What the kernel may hold of a connection whose end does not read, when that has a small buffer."""
    return int(Path("/proc/sys/net/ipv4/tcp_wmem").read_text().split()[2]) + 4 * STALLED_BUFFER_BYTES


class Subscriber:
    """One connection and what it has got. `seen` is the last number by subscription."""

    def __init__(self, server: Server, draw: random.Random, kind: str):
        self.server, self.draw, self.kind = server, draw, kind
        self.protocol = draw.choice((2, 3))
        self.connection = server.connect(self.protocol)
        self.id = self.connection.ok("CLIENT", "ID")
        self.topics = draw.sample(CHANNELS, draw.choice((1, 1, 1, 3))) + draw.sample(PATTERNS, draw.choice((0, 0, 0, 1, 2)))
        self.seen: dict[tuple[bytes, bytes], int] = {}
        self.first: dict[tuple[bytes, bytes], int] = {}
        self.listening: set[bytes] = set()
        self.count = 0
        self.problems: list[str] = []
        self.is_closed = False
        # A healthy one is there from the first message to the last.
        self.subscribe(self.topics)

    def subscribe(self, topics: list[bytes]) -> None:
        for topic in topics:
            self.connection.send("PSUBSCRIBE" if topic in PATTERNS else "SUBSCRIBE", topic)

    def unsubscribe(self, topics: list[bytes]) -> None:
        for topic in topics:
            self.connection.send("PUNSUBSCRIBE" if topic in PATTERNS else "UNSUBSCRIBE", topic)

    def fileno(self) -> int:
        return self.connection.socket.fileno()

    def receive(self) -> None:
        """Takes what has come."""
        try:
            self.connection.receive()
        except (Closed, OSError):
            self.is_closed = True
        buffer, at = self.connection.buffer, self.connection.at
        try:
            while True:
                reply, at = parse(buffer, at)
                self.take(reply)
        except Incomplete:
            self.connection.at = at

    def take(self, reply: Reply) -> None:
        if reply.kind != (">" if self.protocol == 3 else "*"):
            self.problems.append(f"{reply} is no message")
            return
        words = [part.value for part in reply.value]
        if words[0] in (b"subscribe", b"psubscribe"):
            self.listening.add(words[1])
        elif words[0] in (b"unsubscribe", b"punsubscribe"):
            self.listening.discard(words[1])
            # What comes after it counts anew.
            for pair in [pair for pair in self.seen if pair[0] == words[1]]:
                del self.seen[pair]
        elif words[0] in (b"message", b"pmessage"):
            topic, channel, text = words[1], words[-2], words[-1]
            number = int(text.split(b" ")[0])
            self.count += 1
            if topic not in self.listening:
                self.problems.append(f"a message for {topic} behind the end of the subscription")
            last = self.seen.get((topic, channel))
            if last is not None and number != last + 1:
                self.problems.append(f"{topic} {channel}: {number} follows {last}")
            self.first.setdefault((topic, channel), number)
            self.seen[topic, channel] = number
        else:
            self.problems.append(f"{reply} was not expected")

    def check_all(self, published: dict[bytes, int]) -> None:
        """A healthy one, in the end: everything from first to last."""
        for topic in self.topics:
            for channel in CHANNELS:
                if topic == channel or topic in PATTERNS and covers(topic, channel):
                    last = self.seen.get((topic, channel), -1)
                    if published[channel] and (last != published[channel] - 1 or self.first[topic, channel] != 0):
                        self.problems.append(f"{topic} {channel}: got up to {last} of {published[channel]}")


class Listeners(threading.Thread):
    """Reads for all subscribers in one thread, and lets some of them come and go."""

    def __init__(self, subscribers: list[Subscriber]):
        super().__init__()
        self.selector = selectors.DefaultSelector()
        self.subscribers = subscribers
        for subscriber in subscribers:
            self.selector.register(subscriber, selectors.EVENT_READ)
        self.ends = threading.Event()
        # How often all were read: publishers keep pace with a reader that is slower than the server.
        self.passes = 0

    def run(self) -> None:
        draw = random.Random(1)
        wanderers = [subscriber for subscriber in self.subscribers if subscriber.kind == "wandering"]
        while not self.ends.is_set():
            for entry, _ in self.selector.select(0.05):
                self.read(entry.fileobj)
            self.passes += 1
            for subscriber in draw.sample(wanderers, min(2, len(wanderers))):
                if subscriber.is_closed:
                    continue
                if subscriber.listening and draw.random() < 0.5:
                    subscriber.unsubscribe(sorted(subscriber.listening))
                else:
                    subscriber.subscribe(subscriber.topics)

    def read(self, subscriber: Subscriber) -> None:
        subscriber.receive()
        if subscriber.is_closed:
            self.selector.unregister(subscriber)


class Publisher(threading.Thread):
    """Publishes to channels of its own, numbered; `reached` sums the replies."""

    def __init__(self, server: Server, channels: list[bytes], seed: int, listeners: Listeners):
        super().__init__()
        self.listeners = listeners
        self.connection = server.connect()
        self.channels, self.draw = channels, random.Random(seed)
        self.published = dict.fromkeys(channels, 0)
        self.reached = 0
        self.ends = threading.Event()

    def run(self) -> None:
        while not self.ends.is_set():
            batch = bytearray()
            for _ in range(BURST):
                channel = self.draw.choice(self.channels)
                batch += encode("PUBLISH", channel, b"%d %b" % (self.published[channel], PAYLOAD))
                self.published[channel] += 1
            self.connection.send_raw(bytes(batch))
            self.reached += sum(reply.value for reply in self.connection.read_many(BURST))
            seen = self.listeners.passes
            while self.listeners.passes == seen and not self.ends.is_set():
                time.sleep(0.001)


def play(server: Server, seconds: float, seed: int, subscribers: int) -> tuple[list[str], str]:
    """Returns what is wrong, and a line about what was done."""
    draw = random.Random(seed)
    control = server.connect()
    control.ok("CONFIG", "SET", "client-output-buffer-limit", f"pubsub {HARD_LIMIT_BYTES} 0 0")
    kinds = {"healthy": 0.8, "wandering": 0.1, "stalling": 0.05, "killed": 0.05}
    everybody = [Subscriber(server, draw, kind) for kind, share in kinds.items()
                 for _ in range(max(2, int(subscribers * share)))]
    stalling = [subscriber for subscriber in everybody if subscriber.kind == "stalling"]
    # Those that stall listen to everything, or their limit would never be met.
    for subscriber in stalling:
        # Left to itself the kernel would take tens of megabytes for each of them.
        subscriber.connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BUFFER_BYTES)
        subscriber.connection.send("PSUBSCRIBE", "channel:*")
    listeners = Listeners([subscriber for subscriber in everybody if subscriber.kind != "stalling"])
    listeners.start()
    while any(len(subscriber.listening) < len(subscriber.topics)
              for subscriber in everybody if subscriber.kind in ("healthy", "killed")):
        time.sleep(0.01)
    publishers = [Publisher(server, CHANNELS[index::3], seed + index, listeners) for index in range(3)]
    for publisher in publishers:
        publisher.start()
    before = server.resident_bytes()
    peak = before
    doomed = [subscriber for subscriber in everybody if subscriber.kind == "killed"]
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        time.sleep(seconds / 20)
        peak = max(peak, server.resident_bytes())
        if doomed:
            control.ok("CLIENT", "KILL", "ID", doomed.pop().id)
    for publisher in publishers:
        publisher.ends.set()
        publisher.join()
    published = {channel: count for publisher in publishers for channel, count in publisher.published.items()}
    problems: list[str] = []
    # All that was acknowledged is in the sockets, or on the way there.
    healthy = [subscriber for subscriber in everybody if subscriber.kind == "healthy"]
    deadline = time.monotonic() + 20
    expected = sum(published[channel] for subscriber in healthy for topic in subscriber.topics
                   for channel in CHANNELS if topic == channel or topic in PATTERNS and covers(topic, channel))
    got = 0
    while got < expected and time.monotonic() < deadline:
        time.sleep(0.02)
        now = sum(subscriber.count for subscriber in healthy)
        if now > got:
            got, deadline = now, time.monotonic() + 20
    listeners.ends.set()
    listeners.join()
    for subscriber in healthy:
        if subscriber.is_closed:
            subscriber.problems.append("was closed")
        subscriber.check_all(published)
    for subscriber in everybody:
        problems += [f"{subscriber.kind} {subscriber.id}: {problem}" for problem in subscriber.problems[:3]]
    if sum(publisher.reached for publisher in publishers) < expected:
        problems.append("the replies of PUBLISH count less than the healthy ones alone got")
    alive = {int(field.split(b"=")[1]) for line in control.ok("CLIENT", "LIST", "TYPE", "pubsub").split(b"\n")
             for field in line.split(b" ") if field.startswith(b"id=")}
    total = sum(published.values())
    # A stalled one has had its limit and what the kernel holds for both ends of its connection.
    if total * (len(PAYLOAD) + 60) > 4 * HARD_LIMIT_BYTES + kernel_bytes_max():
        problems += [f"stalled {subscriber.id} was not closed" for subscriber in stalling if subscriber.id in alive]
    room = (64 << 20) + 2 * HARD_LIMIT_BYTES * len(stalling)
    if peak - before > room:
        problems.append(f"memory grew from {before >> 20} to {peak >> 20} MB")
    for subscriber in everybody:
        subscriber.connection.close()
    for publisher in publishers:
        publisher.connection.close()
    deadline = time.monotonic() + 5
    while control.ok("CLIENT", "LIST", "TYPE", "pubsub") and time.monotonic() < deadline:
        time.sleep(0.01)
    left = control.ok("PUBSUB", "NUMPAT") + len(control.ok("PUBSUB", "CHANNELS"))
    if left:
        problems.append(f"{left} channels and patterns are left without a client")
    control.close()
    delivered = sum(subscriber.count for subscriber in everybody)
    return problems, (f"{len(everybody)} subscribers, {total} messages, {delivered} deliveries, "
                      f"memory {before >> 20} to {peak >> 20} MB, seed {seed}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0 draws one")
    parser.add_argument("--loops", type=int, default=2)
    parser.add_argument("--subscribers", type=int, default=1000)
    options = parser.parse_args()
    seed = options.seed or random.randrange(1, 2**31)
    with Server(MARTLET, "--io-threads", str(options.loops)) as server:
        problems, summary = play(server, options.seconds, seed, options.subscribers)
        server.assert_serves()
        server.stop_cleanly()
    print("\n".join([*problems[:50], summary]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
