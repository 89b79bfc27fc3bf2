"""Python 2 meanings that the ported suite (port.py) still counts on.

In the ported code a `str` stands for the byte string it was in Python 2: one
character per byte, U+0000..U+00FF (latin-1). Bytes are converted where they
enter and leave that code, here and in fuzz.py.
"""

import binascii

from autobahn.websocket import utf8validator


def to_str(data):
    return data.decode("latin-1") if isinstance(data, (bytes, bytearray)) else data


def to_bytes(data):
    return data.encode("latin-1") if isinstance(data, str) else data


def b2a_hex(data):
    return binascii.b2a_hex(to_bytes(data)).decode("ascii")


hexlify = b2a_hex


class Utf8Validator(utf8validator.Utf8Validator):
    def validate(self, data):
        return super().validate(to_bytes(data))
