#!/usr/bin/env python3
"""Reads metrics once a second, as monitoring does, only more often.

    scrape.py http://127.0.0.1:9000/metrics
"""

import contextlib
import sys
import time
from urllib.request import urlopen

SECONDS = 1

while True:
    time.sleep(SECONDS)
    with contextlib.suppress(OSError), urlopen(sys.argv[1]) as answer:
        answer.read()
