"""Waiting until nobody else is at work: builds and tests beside a measurement spoil it."""

import os
import time
from pathlib import Path

SAMPLE_SECONDS = 0.5

# Cores' worth of CPU time; an idle machine with an idle proxy on it stays below.
BUSY_MAX = 0.1


class Patience:
    """A number of seconds, shared by all the waits of a run."""

    def __init__(self, seconds):
        self.left = seconds

    def wait(self):
        while self.left > 0 and busy_cores() > BUSY_MAX:
            self.left -= SAMPLE_SECONDS


def busy_cores():
    """Cores' worth of CPU time that the machine spends while this script does nothing."""
    before = busy_seconds()
    time.sleep(SAMPLE_SECONDS)
    return (busy_seconds() - before) / SAMPLE_SECONDS


def busy_seconds():
    user, nice, system, _idle, _iowait, irq, softirq = Path("/proc/stat").read_text().split()[1:8]
    return sum(map(int, (user, nice, system, irq, softirq))) / os.sysconf("SC_CLK_TCK")
