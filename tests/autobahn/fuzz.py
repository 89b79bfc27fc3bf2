"""Run the Autobahn fuzzing client (ported by port.py) against one WebSocket server.

usage: fuzz.py URL NAME OUTDIR CASE_PATTERN... [--exclude CASE_PATTERN...]

What `wstest -m fuzzingclient` does: OUTDIR/index.json has the verdicts, one more
file per case has the events and the wire log. Added here: the conversion between
the bytes of autobahn on Python 3 and the byte strings of the suite (py2.py), and
an exit status that says whether all cases ran without an error in the suite itself.
"""

import argparse
import sys

from autobahntestsuite import fuzzing
from py2 import to_bytes, to_str
from twisted.internet import reactor
from twisted.python import log


class Client(fuzzing.FuzzingClientProtocol):
    # Sent by a case, as a byte string, or by autobahn, as bytes.

    def sendFrame(self, opcode, payload=b"", payload_len=None, **options):
        payload = to_bytes(payload)
        if payload_len is not None:
            # The payload over and over; done by autobahn itself only on Python 2.
            payload = (payload * (payload_len // len(payload) + 1))[:payload_len]
        super().sendFrame(opcode, payload, **options)

    def sendMessage(self, payload, *args, **options):
        super().sendMessage(to_bytes(payload), *args, **options)

    def sendMessageFrameData(self, payload, *args, **options):
        return super().sendMessageFrameData(to_bytes(payload), *args, **options)

    def sendCloseFrame(self, code=None, reasonUtf8=None, isReply=False):
        super().sendCloseFrame(code, to_bytes(reasonUtf8), isReply)

    # Received.

    def _onMessage(self, payload, isBinary):
        # The compression cases (12, 13) decode text themselves.
        raw = hasattr(self.Case, "TESTDATA")
        super()._onMessage(payload if raw else to_str(payload), isBinary)

    def _onPong(self, payload):
        super()._onPong(to_str(payload))

    # For the report.

    def logRxOctets(self, data):
        super().logRxOctets(to_str(data))

    def logTxOctets(self, data, sync):
        super().logTxOctets(to_str(data), sync)

    def logRxFrame(self, frameHeader, payload):
        super().logRxFrame(frameHeader, [to_str(part) for part in payload])

    def logTxFrame(self, frameHeader, payload, *options):
        super().logTxFrame(frameHeader, to_str(payload), *options)

    def connectionLost(self, reason):
        for name in ("http_request_data", "http_response_data", "localCloseReason"):
            setattr(self, name, to_str(getattr(self, name, None)))
        super().connectionLost(reason)


class Factory(fuzzing.FuzzingClientFactory):
    def createReports(self):
        super().createReports(produceHtml=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("name")
    parser.add_argument("outdir")
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--exclude", nargs="*", default=[])
    args = parser.parse_args()

    known = fuzzing.CaseSet(
        fuzzing.CaseSetname,
        fuzzing.CaseBasename,
        fuzzing.Cases,
        fuzzing.CaseCategories,
        fuzzing.CaseSubCategories,
    )
    for pattern in args.cases:
        if not set(known.resolveCasePatternList([pattern])) & set(known.CasesById):
            sys.exit(f"no such case: {pattern}")

    errors = []
    log.startLogging(sys.stdout, setStdout=False)
    log.addObserver(lambda event: errors.append(event) if event["isError"] else None)

    fuzzing.FuzzingClientProtocol = Client  # the factory takes it by this name
    factory = Factory(
        {
            "outdir": args.outdir,
            "servers": [{"url": args.url, "agent": args.name}],
            "cases": args.cases,
            "exclude-cases": args.exclude,
        }
    )
    if not factory.specCases:
        sys.exit("no case left to run")
    reactor.run()

    ran = len(factory.agents.get(args.name, {}))
    if errors or ran != len(factory.specCases):
        sys.exit(f"{ran} of {len(factory.specCases)} cases ran, {len(errors)} errors in the suite")


main()
