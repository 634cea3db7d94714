"""Many clients at once, each a small program, their histories with times.

An actor is a generator: it yields a pipeline of commands and is sent back when that left, when its
last reply came, and the replies. One loop drives many actors over as many connections, so requests
overlap at the server without a thread for each client; several processes make them truly parallel.
CLOCK_MONOTONIC is one clock for all processes of a machine, so their histories can be merged.
"""

from __future__ import annotations

import multiprocessing
import random
import selectors
import time
import traceback
from typing import Callable, Generator, Iterable, NamedTuple

from resp import Connection, Incomplete, Reply, encode, parse

Command = tuple
Turn = tuple[float, float, list[Reply]]
Actor = Generator[list[Command], Turn, None]

TURN_SECONDS_MAX = 20


class Operation(NamedTuple):
    """What one client did: the command, its reply, and the interval in which it took effect."""

    client: int
    start: float
    end: float
    command: tuple
    reply: Reply


class Player:
    """One actor with its connection, and the turn that is under way."""

    def __init__(self, actor: Actor, connection: Connection):
        self.actor = actor
        self.connection = connection
        self.waiting = 0
        self.replies: list[Reply] = []
        self.started = 0.0

    def proceed(self, turn: Turn | None) -> bool:
        """Lets the actor take its next turn; False when it is done."""
        try:
            commands = next(self.actor) if turn is None else self.actor.send(turn)
        except StopIteration:
            return False
        self.waiting = len(commands)
        self.replies = []
        data = b"".join(encode(*command) for command in commands)
        self.started = time.monotonic()
        self.connection.send_raw(data)
        return True

    def collect(self) -> Turn | None:
        """Reads what came; the finished turn, or None while replies are missing."""
        connection = self.connection
        connection.receive()
        try:
            while len(self.replies) < self.waiting:
                reply, connection.at = parse(connection.buffer, connection.at)
                self.replies.append(reply)
        except Incomplete:
            return None
        return self.started, time.monotonic(), self.replies


def play(address: tuple[str, int], actors: Iterable[Actor]) -> None:
    """Runs all actors to their ends, each on a connection of its own."""
    selector = selectors.DefaultSelector()
    players = [Player(actor, Connection(address)) for actor in actors]
    running = 0
    for player in players:
        selector.register(player.connection.socket, selectors.EVENT_READ, player)
    for player in players:
        running += player.proceed(None)
    while running:
        ready = selector.select(TURN_SECONDS_MAX)
        if not ready:
            raise TimeoutError(f"no reply for {TURN_SECONDS_MAX} s")
        for item, _ in ready:
            turn = item.data.collect()
            if turn is not None and not item.data.proceed(turn):
                running -= 1
                selector.unregister(item.fileobj)
    for player in players:
        player.connection.close()
    selector.close()


def play_parallel(address: tuple[str, int], processes: int, seed: str,
                  program: Callable[[random.Random, int], tuple[list[Actor], list]]) -> list:
    """Runs `program(rng, process)` in each process; it returns actors and the list they record into.

    Returns all records. The program is inherited by fork, so it may be a closure.
    """
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def work(process: int) -> None:
        try:
            actors, records = program(random.Random(f"{seed}:{process}"), process)
            play(address, actors)
            results.put(records)
        except BaseException:
            results.put(traceback.format_exc())

    workers = [context.Process(target=work, args=(number,), daemon=True) for number in range(processes)]
    for worker in workers:
        worker.start()
    merged: list = []
    failures = []
    for _ in workers:
        records = results.get()
        (failures if isinstance(records, str) else merged).extend(
            [records] if isinstance(records, str) else records)
    for worker in workers:
        worker.join()
    assert not failures, "\n".join(failures)
    return merged
