"""Threads that do the same at once, as the processes of a service do."""

import threading


def together(count: int, work) -> None:
    """Calls `work` in so many threads; what one of them raises is raised here."""
    failures = []

    def guarded():
        try:
            work()
        except Exception as problem:  # Told where it counts, in the test's thread.
            failures.append(problem)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
