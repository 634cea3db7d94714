"""Transcripts: commands with the replies they must get, as text that reads like a session.

    # A comment. A blank line starts a new session: empty keyspace, fresh connections.
    > SET k "a\\x00b"                 < OK
    > GET k                          < "a\\x00b"
    b> WATCH k                       < OK           a second connection, named b
    << (push) ["message", "c", "x"]   what comes without being asked for; b<< on b
    > LCS a b IDX                    < {"matches": [], "len": (integer) 0}
    > TTL k                          < (integer) 99..100
    ! since 8.2                      the session needs a server of this version
    ! only 3                         the session runs in RESP3 only

A long reply may stand on the next line. Replies are written for RESP3 and compared by type; in RESP2
a map is expected as its flat array, a set as an array, a double, big number or verbatim string as a
bulk string, and `(nil)` as a null bulk string, `(nil array)` as a null array. `...` stands for any
reply, `(error) ERR x...` for any error that starts so, `(integer) a..b` for a range, and
`(any order) [...]` for an array in some order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from resp import Reply, render

DIRECTORY = Path(__file__).parent / "transcripts"


@dataclass
class Line:
    """One command and the reply expected, with the line of the file that holds it. A line without a
    command expects something more."""

    number: int
    connection: str
    command: list[bytes] | None
    expected: str


@dataclass
class Session:
    """Lines that start from nothing. `since` is (major, minor); `only` is a protocol or None."""

    path: Path
    lines: list[Line] = field(default_factory=list)
    since: tuple[int, int] = (7, 0)
    only: int | None = None

    @property
    def name(self) -> str:
        return f"{self.path.stem}:{self.lines[0].number}"


ESCAPES = {"n": 10, "r": 13, "t": 9, "a": 7, "b": 8}
COMMAND = re.compile(r"(\w?)> (.*)$")
MORE = re.compile(r"(\w?)<< (.*)$")


def unquote(text: str, at: int) -> tuple[bytes, int]:
    """Reads the quoted string whose opening quote stands at `at`; returns it and what follows."""
    out = bytearray()
    at += 1
    while text[at] != '"':
        if text[at] == "\\":
            at += 1
            if text[at] == "x":
                out.append(int(text[at + 1 : at + 3], 16))
                at += 2
            else:
                out.append(ESCAPES.get(text[at], ord(text[at])))
        else:
            out += text[at].encode()
        at += 1
    return bytes(out), at + 1


def arguments(text: str) -> list[bytes]:
    """Splits a command line. `NAME*COUNT` inside braces, as in {x*1000}, repeats."""
    found, at = [], 0
    while at < len(text):
        if text[at] == " ":
            at += 1
        elif text[at] == '"':
            argument, at = unquote(text, at)
            found.append(argument)
        else:
            end = text.find(" ", at)
            end = len(text) if end < 0 else end
            word = text[at:end]
            repeated = re.fullmatch(r"\{(.+)\*(\d+)\}", word)
            found.append((repeated[1] * int(repeated[2])).encode() if repeated else word.encode())
            at = end
    return found


def split_reply(text: str) -> tuple[str, str | None]:
    """Cuts a line into command and reply at the first ` < ` that stands outside quotes."""
    quoted, at = False, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        elif text.startswith(" < ", at) and not quoted:
            return text[:at].rstrip(), text[at + 3 :].strip()
        at += 1
    return text.rstrip(), None


def read(path: Path) -> list[Session]:
    sessions: list[Session] = []
    current: Session | None = None
    for number, text in enumerate(path.read_text().splitlines(), 1):
        stripped = text.strip()
        if not stripped:
            current = None
            continue
        if stripped.startswith("#"):
            continue
        if current is None:
            current = Session(path)
            sessions.append(current)
        if stripped.startswith("! since "):
            major, minor = stripped[8:].split(".")
            current.since = int(major), int(minor)
        elif stripped.startswith("! only "):
            current.only = int(stripped[7:])
        elif more := MORE.match(stripped):
            current.lines.append(Line(number, more[1], None, more[2]))
        elif stripped.startswith("< "):
            assert current.lines and not current.lines[-1].expected, f"{path}:{number}: a second reply"
            current.lines[-1].expected = stripped[2:]
        else:
            command, expected = split_reply(stripped)
            found = COMMAND.match(command)
            assert found, f"{path}:{number}: not a transcript line: {text}"
            current.lines.append(Line(number, found[1], arguments(found[2]), expected or ""))
    for session in sessions:
        for line in session.lines:
            assert line.expected, f"{path}:{line.number}: no reply"
    return [session for session in sessions if session.lines]


def all_sessions() -> list[Session]:
    return [session for path in sorted(DIRECTORY.glob("*.txt")) for session in read(path)]


class Expectation:
    """Reads the notation of a reply, and matches replies against it."""

    def __init__(self, text: str):
        self.text = text
        self.at = 0
        self.pattern = self.item()
        assert self.at == len(text), f"left over in a reply: {text[self.at:]}"

    def take(self, token: str) -> bool:
        if self.text.startswith(token, self.at):
            self.at += len(token)
            while self.text.startswith(" ", self.at):
                self.at += 1
            return True
        return False

    def rest(self, stops: str) -> str:
        start = self.at
        while self.at < len(self.text) and not any(self.text.startswith(s, self.at) for s in stops):
            self.at += 1
        return self.text[start : self.at].strip()

    def item(self, nested: bool = False) -> tuple:
        """One pattern: (what, content)."""
        stops = ",]}:" if nested else ""
        if self.take("..."):
            return "any", None
        if self.take("(any order) "):
            return "shuffled", self.item(nested)[1]
        if self.take("(nil array)"):
            return "*", None
        if self.take("(nil)"):
            return "$", None
        if self.take("(true)"):
            return "#", True
        if self.take("(false)"):
            return "#", False
        for word, kind in (("(set) ", "~"), ("(push) ", ">")):
            if self.take(word):
                return kind, self.item(nested)[1]
        if self.take("(verbatim) "):
            return "=", self.quoted()
        if self.take("(error) "):
            if self.text.startswith('"', self.at):
                return "-", self.quoted()
            return "-", self.rest(stops).encode()
        if self.take("(integer) "):
            low, dots, high = self.rest(stops).partition("..")
            return ":", (int(low), int(high) if dots else int(low))
        if self.take("(double) "):
            return ",", self.rest(stops).encode()
        if self.take("(big number) "):
            return "(", self.rest(stops).encode()
        if self.text.startswith('"', self.at):
            return "$", self.quoted()
        if self.take("["):
            items = []
            while not self.take("]"):
                items.append(self.item(True))
                self.take(",")
            return "*", items
        if self.take("{"):
            pairs = []
            while not self.take("}"):
                name = self.item(True)
                assert self.take(":"), f"no colon in a map: {self.text}"
                pairs.append((name, self.item(True)))
                self.take(",")
            return "%", pairs
        return "+", self.rest(stops).encode()

    def quoted(self) -> bytes:
        data, self.at = unquote(self.text, self.at)
        self.take("")
        while self.text.startswith(" ", self.at):
            self.at += 1
        return data

    def matches(self, reply: Reply, protocol: int) -> bool:
        return matches(self.pattern, reply, protocol)


def matches(pattern: tuple, reply: Reply, protocol: int) -> bool:
    kind, content = pattern
    if kind == "any":
        return True
    if kind == "shuffled":
        return reply.kind in "*~" and sorted(render(item) for item in reply.value or ()) == sorted(
            render(Reply(*item)) for item in content)
    if kind == "-":
        return reply.kind == "-" and (reply.value.startswith(content[:-3]) if content.endswith(b"...")
                                      else reply.value == content)
    if kind == ":":
        return reply.kind == ":" and content[0] <= reply.value <= content[1]
    if protocol == 2:
        if kind == "%":
            kind, content = "*", [part for pair in content for part in pair]
        elif kind in "~>":
            kind = "*"
        elif kind in ",(":
            kind = "$"
        elif kind == "=":
            kind, content = "$", content[4:]
    elif content is None:
        return reply.kind == "_"
    if kind != reply.kind:
        return False
    if content is None or reply.value is None:
        return content is reply.value
    if kind in "*~>":
        return len(content) == len(reply.value) and all(
            matches(part, item, protocol) for part, item in zip(content, reply.value))
    if kind == "%":
        return len(content) == len(reply.value) and all(
            matches(a, name, protocol) and matches(b, item, protocol)
            for (a, b), (name, item) in zip(content, reply.value))
    return content == reply.value
