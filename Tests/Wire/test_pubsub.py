"""Messages: what needs several connections, several loops, or a slow reader."""

import time

import pytest

import fan_out
from resp import Closed, Connection
from servers import SHARE, Server


@pytest.mark.parametrize("loops", [1, 2])
def test_every_message_reaches_every_healthy_subscriber_once_and_in_order(new_server, loops):
    server = new_server("--io-threads", str(loops))
    problems, summary = fan_out.play(server, max(1.0, 3 * SHARE), seed=loops, subscribers=200)
    assert not problems, (problems[:10], summary)
    server.assert_serves()
    server.stop_cleanly()


def test_a_slow_subscriber_is_closed_at_its_limit_and_brakes_nobody(new_server):
    server = new_server("--client-output-buffer-limit", "pubsub", "100000", "0", "0")
    with server.connect() as slow, server.connect() as quick, server.connect() as publisher:
        slow.ok("SUBSCRIBE", "c")
        quick.ok("SUBSCRIBE", "c")
        for number in range(400):
            receivers = publisher.ok("PUBLISH", "c", b"%d" % number + b"x" * 50_000)
            assert quick.read().value[2].value.startswith(b"%d" % number)
            if receivers == 1:
                break
        assert receivers == 1, "the slow one was not closed"
        assert slow.read_until_closed() != []
        assert b"omem" in publisher.ok("CLIENT", "LIST", "TYPE", "pubsub")


def test_a_message_stands_before_the_reply_to_what_was_asked_after_it(new_server):
    """Whatever loops they are on."""
    server = new_server("--io-threads", "2")
    subscribers = [server.connect(protocol) for protocol in (2, 3, 2, 3)]
    for subscriber in subscribers:
        subscriber.ok("SUBSCRIBE", "c")
    with server.connect() as one, server.connect() as other:
        for number in range(200):
            assert (one if number % 2 else other).ok("PUBLISH", "c", number) == len(subscribers)
            for subscriber in subscribers:
                subscriber.send("PING")
            for subscriber in subscribers:
                assert subscriber.read().value[2].value == b"%d" % number
                assert b"PONG" in str(subscriber.read()).upper().encode()
    for subscriber in subscribers:
        subscriber.close()


def test_messages_of_several_publishers_come_to_all_in_the_same_order(new_server):
    server = new_server("--io-threads", "2")
    subscribers = [server.connect(3) for _ in range(8)]
    for subscriber in subscribers:
        subscriber.ok("SUBSCRIBE", "c")
    publishers = [server.connect() for _ in range(4)]
    for round_number in range(20):
        for index, publisher in enumerate(publishers):
            publisher.send_raw(b"".join(
                b"PUBLISH c %d:%d:%d\r\n" % (index, round_number, n) for n in range(10)))
        for publisher in publishers:
            assert all(reply.value == 8 for reply in publisher.read_many(10))
    orders = [[reply.value[2].value for reply in subscriber.read_many(800)] for subscriber in subscribers]
    assert all(order == orders[0] for order in orders)
    for connection in subscribers + publishers:
        connection.close()


def test_a_killed_subscriber_is_counted_no_more(new_server):
    server = new_server("--io-threads", "2")
    with server.connect() as control:
        for _ in range(50):
            victim = server.connect()
            client = victim.ok("CLIENT", "ID")
            victim.ok("SUBSCRIBE", "c")
            assert control.ok("PUBLISH", "c", "x") == 1
            assert control.ok("CLIENT", "KILL", "ID", client) == 1
            assert control.ok("PUBLISH", "c", "y") == 0
            victim.close()


def info(connection: Connection, section: str) -> dict[bytes, bytes]:
    return dict(line.split(b":", 1) for line in connection.ok("INFO", section).split(b"\r\n") if b":" in line)


def test_info_and_client_list_tell_of_subscribers(new_server):
    """On a server of its own: the shared one may still have subscribers of a test that just ended."""
    server = new_server()
    with server.connect() as control, server.connect() as subscriber:
        subscriber.ok("SUBSCRIBE", "a")
        subscriber.ok("PSUBSCRIBE", "b*")
        stats = info(control, "stats")
        assert (stats[b"pubsub_channels"], stats[b"pubsub_patterns"]) == (b"1", b"1")
        assert info(control, "clients")[b"pubsub_clients"] == b"1"
        line = control.ok("CLIENT", "LIST", "TYPE", "PUBSUB")
        assert b" flags=P " in line and b" sub=1 psub=1 ssub=0 " in line
        assert control.ok("CLIENT", "KILL", "TYPE", "pubsub") == 1
        with pytest.raises((Closed, ConnectionError)):
            subscriber.read()


def test_deadlines_are_announced_in_time(new_server: Server):
    """10 000 keys a second, each within 100 ms of its deadline: the cycle's rounds are 50 ms apart."""
    server = new_server("--notify-keyspace-events", "Ex")
    count = int(10_000 * SHARE)
    with server.connect(3) as listener, server.connect() as writer:
        listener.ok("SUBSCRIBE", "__keyevent@0__:expired")
        begin = int(time.time() * 1000) + 1500
        for at in range(0, count, 1000):
            writer.pipeline([("SET", f"{begin + 1000 * n // count}:{n}", "v", "PXAT", begin + 1000 * n // count)
                             for n in range(at, min(at + 1000, count))])
        late = []
        for _ in range(count):
            deadline = int(listener.read().value[2].value.split(b":")[0])
            late.append(int(time.time() * 1000) - deadline)
        # The reader is slow itself: most of them tell.
        assert sorted(late)[count * 9 // 10] < 400 and min(late) >= -1
