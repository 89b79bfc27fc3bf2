"""Port the Autobahn test suite's fuzzing client from Python 2 to Python 3.

usage: port.py UNPACKED_SDIST DESTINATION

The suite (every release of it) is Python 2 only. What the fuzzing client needs
of it, which is the case definitions, their verdicts and the client that runs
them, uses little that Python 3 changed, so a handful of textual rules is enough.
Byte strings stay string literals; see py2.py for how. Every rule must apply at
least once, so that another release of the suite cannot slip past a rule.
"""

import pathlib
import re
import shutil
import sys

RULES = [
    # a case the suite itself does not run
    (r"^from case9_9_1 import \*\n", r""),
    # implicit relative imports
    (r"^from (case\w*|caseset) import", r"from .\1 import"),
    # used by the HTML reports only, which are not made here
    (r"^from report import(.*\\\n)+.*\n", r""),
    # only for wss://, and would need OpenSSL bindings
    (r"^from twisted\.internet import reactor, ssl$", r"from twisted.internet import reactor"),
    (r"^(\s+)self\.contextFactory = ssl\.\w+\(.*\)$", r"\1self.contextFactory = None"),
    # print statement
    (r"^( *)print\b *(.*)$", r"\1print(\2)"),
    # dict.has_key
    (r"([\w.\[\]]+)\.has_key\(([^()]+)\)", r"(\2 in \1)"),
    (r"\bxrange\b", r"range"),
    # not a valid base class order any more
    (r"\(object, Case, \)", r"(Case, )"),
    # integer division (case 10.1.1)
    (r"len\(self\.payload\) / self", r"len(self.payload) // self"),
    # both take and give byte strings
    (r"\bbinascii\b", r"py2"),
    (r"^from autobahn\.websocket\.utf8validator import", r"from py2 import"),
    (r"\bdd\.decode\(", r"py2.to_bytes(dd).decode("),
]


def main():
    source = pathlib.Path(sys.argv[1], "autobahntestsuite")
    package = pathlib.Path(sys.argv[2], "autobahntestsuite")
    (package / "case").mkdir(parents=True)
    shutil.copytree(source / "testdata", package / "testdata")
    # The suite's own __init__.py starts every mode it has.
    version = (source / "_version.py").read_text()
    (package / "__init__.py").write_text(version + "\nversion = __version__\n")

    applied = [0] * len(RULES)
    for path in [source / "fuzzing.py", source / "caseset.py", *source.glob("case/*.py")]:
        # As latin-1, each byte of a literal becomes one character.
        text = path.read_bytes().decode("latin-1").replace("\r\n", "\n")
        for i, (pattern, replacement) in enumerate(RULES):
            text, n = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            applied[i] += n
        compile(text, str(path), "exec")
        (package / path.relative_to(source)).write_text(text, encoding="utf-8")

    unused = [rule for rule, n in zip(RULES, applied) if not n]
    if unused:
        sys.exit(f"port.py: rules that match nothing in this release: {unused}")


main()
