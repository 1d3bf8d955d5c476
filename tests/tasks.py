"""Functions that tests of worker processes run there; few imports, as every process pays for them."""

import os
import signal
import time


class OddError(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def square(number):
    time.sleep(0.05 * (number == 0))  # the first is the last to end
    return number * number


def variable(name):
    return os.environ.get(name)


def fail(error):
    raise error


def fail_oddly():
    raise OddError(1, 2)


def die(marks, times, by):
    """Die by a signal until there are so many marks."""
    count = len(list(marks.iterdir()))
    if count < times:
        (marks / str(count)).touch()
        os.kill(os.getpid(), by)
    return os.getpid()


def steps(count, report):
    for step in range(count):
        report(step)
    return count


def mark(path):
    path.touch()


def linger(path, seconds=60.0):
    """Save what is done when it is stopped."""
    path.touch()
    try:
        time.sleep(seconds)
    except KeyboardInterrupt:
        time.sleep(0.2)
        path.write_text("saved")
        raise


def kill_itself(*_):
    os.kill(os.getpid(), signal.SIGKILL)
