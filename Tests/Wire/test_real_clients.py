"""redis-cli and redis-benchmark, as people use them."""

import re
import subprocess

import pytest

from resp import encode
from terminal import Terminal


def cli(server, *arguments: str, stdin: bytes = b"", seconds: float = 30) -> str:
    """What redis-cli prints. A status other than 0 fails."""
    result = subprocess.run(["redis-cli", "-p", str(server.port), *arguments], input=stdin,
                            capture_output=True, timeout=seconds)
    assert result.returncode == 0, result
    return result.stdout.decode()


@pytest.mark.parametrize("protocol", ["2", "3"])
def test_redis_cli_on_a_terminal(martlet, client, protocol):
    with Terminal("redis-cli", "-p", str(martlet.port), f"-{protocol}") as terminal:
        prompt = f"127.0.0.1:{martlet.port}> "
        terminal.expect(prompt)
        for line, shown in [
            ("SET greeting hello", "OK"),
            ("GET greeting", '"hello"'),
            ("GET missing", "(nil)"),
            ("INCR n", "(integer) 1"),
            ("INCR greeting", "(error) ERR value is not an integer or out of range"),
            ("MGET greeting missing", '1) "hello"\r\n2) (nil)'),
            ('SET spaced "a b\\x00c"', "OK"),
            ("GET spaced", '"a b\\x00c"'),
            ("PING", "PONG"),
            ("NOSUCH", "(error) ERR unknown command 'NOSUCH', with args beginning with:"),
        ]:
            terminal.type(line)
            terminal.expect(shown)
            terminal.expect(prompt)
        # The prompt shows a transaction and the database.
        terminal.type("MULTI")
        terminal.expect(f"127.0.0.1:{martlet.port}(TX)> ")
        terminal.type("INCR n")
        terminal.expect("QUEUED")
        terminal.type("EXEC")
        terminal.expect("1) (integer) 2")
        terminal.type("SELECT 1")
        terminal.expect(f"127.0.0.1:{martlet.port}[1]> ")
        terminal.type("SELECT 0")
        terminal.expect(prompt)
        # Help needs COMMAND DOCS; a repeat count precedes a command.
        terminal.type("HELP GETRANGE")
        assert "key start end" in terminal.expect("group: string")
        terminal.type("3 INCR n")
        terminal.expect("(integer) 5")
        terminal.type("QUIT")


def test_redis_cli_pipe_takes_a_mass_insertion(martlet, client):
    data = b"".join(encode("SET", f"key{number}", number) for number in range(20_000))
    printed = cli(martlet, "--pipe", stdin=data)
    assert "errors: 0, replies: 20000" in printed
    assert client.ok("DBSIZE") == 20_000


def test_redis_cli_scan_and_bigkeys_find_every_key(martlet, client):
    client.pipeline([("SET", f"user:{number}", "x" * number) for number in range(500)]
                    + [("SET", f"other:{number}", "y") for number in range(300)])
    found = cli(martlet, "--scan", "--pattern", "user:*").split()
    assert sorted(set(found)) == sorted(f"user:{number}" for number in range(500))
    printed = cli(martlet, "--bigkeys")
    assert "Sampled 800 keys" in printed and 'has 499 bytes' in printed
    printed = cli(martlet, "--memkeys") if "--memkeys" in cli(martlet, "--help") else "Sampled 800 keys"
    assert "Sampled 800 keys" in printed


def test_redis_cli_latency_and_stat(martlet, client):
    printed = cli(martlet, "-i", "0.5", "--latency", "--raw")
    assert re.search(r"\d+ \d+ [\d.]+ \d+", printed), printed
    client.ok("SET", "k", "v")
    # Both draw on a terminal until they are interrupted.
    with Terminal("redis-cli", "-p", str(martlet.port), "--stat", "-i", "0.1") as terminal:
        terminal.expect("keys")
        terminal.expect("(+", seconds=5)
    with Terminal("redis-cli", "-p", str(martlet.port), "--latency") as terminal:
        terminal.expect("samples)")


def test_redis_cli_batch_forms(martlet, client):
    assert cli(martlet, "SET", "k", "v") == "OK\n"
    assert cli(martlet, "GET", "k") == "v\n"
    assert cli(martlet, "--no-raw", "GET", "k") == '"v"\n'
    assert cli(martlet, "-n", "3", "SET", "k", "three") == "OK\n"
    assert cli(martlet, "-n", "3", "GET", "k") == "three\n"
    assert cli(martlet, "-x", "SET", "k", stdin=b"from stdin") == "OK\n"
    assert cli(martlet, "--csv", "MGET", "k", "missing") == '"from stdin",NULL\n'
    assert cli(martlet, "--json", "MGET", "k") == '["from stdin"]\n'
    assert cli(martlet, "-r", "3", "INCR", "n") == "1\n2\n3\n"
    assert cli(martlet, stdin=b"SET a 1\nGET a\n") == "OK\n1\n"
    assert "redis_version" in cli(martlet, "INFO", "server")


def test_redis_benchmark_completes(martlet):
    result = subprocess.run(
        ["redis-benchmark", "-p", str(martlet.port), "-t", "ping,set,get,incr,mset", "-P", "16", "-q",
         "-n", "20000"], capture_output=True, timeout=120)
    printed = result.stdout.decode().replace("\r", "\n")
    assert result.returncode == 0, printed
    for name in ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"):
        assert re.search(rf"^{re.escape(name)}: [\d.]+ requests per second", printed, re.M), printed
    assert "rror" not in printed and b"rror" not in result.stderr


def test_redis_benchmark_with_random_keys_and_templates(martlet, client):
    result = subprocess.run(
        ["redis-benchmark", "-p", str(martlet.port), "-q", "-n", "5000", "-r", "1000", "-c", "20", "-3",
         "SET", "key:__rand_int__", "__rand_int__", "EX", "100"], capture_output=True, timeout=60)
    assert result.returncode == 0, result
    assert 500 < client.ok("DBSIZE") <= 1000
