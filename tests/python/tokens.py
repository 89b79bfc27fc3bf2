"""Signs tokens with PyJWT for tests/guard_token.rs.

usage: tokens.py DIRECTORY

Writes the secret and the public keys there (secret, rs256.pem, es256.pem, jwks.json), and prints a line `NAME TOKEN`
for each token, and then `end`.
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SECRET = "a secret that is long enough for all of the algorithms that are tried with it"

now = int(time.time())
good = {"sub": "ada", "iss": "https://id.example", "aud": ["chat", "stream"], "exp": now + 3600}


def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def ec_key():
    return ec.generate_private_key(ec.SECP256R1())


def pem(key):
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def say(name, token):
    print(name, token, flush=True)


def without(claim):
    return {name: value for name, value in good.items() if name != claim}


def by_hand(header, claims, secret):
    """A token that the library would not make."""
    encode = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    signed = ".".join(encode(json.dumps(part).encode()) for part in [header, claims])
    signature = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256) if secret else b""
    return f"{signed}.{encode(signature)}"


def main(directory):
    keys = {"HS256": SECRET, "RS256": rsa_key(), "ES256": ec_key()}
    strangers = {"HS256": SECRET[::-1], "RS256": rsa_key(), "ES256": ec_key()}
    directory.joinpath("secret").write_text(SECRET + "\n")
    directory.joinpath("rs256.pem").write_text(pem(keys["RS256"]))
    directory.joinpath("es256.pem").write_text(pem(keys["ES256"]))
    for algorithm, key in keys.items():
        say(f"{algorithm}-good", jwt.encode(good, key, algorithm))
        say(f"{algorithm}-expired", jwt.encode(good | {"exp": now - 3600}, key, algorithm))
        say(f"{algorithm}-stranger", jwt.encode(good, strangers[algorithm], algorithm))
    say("early", jwt.encode(good | {"nbf": now + 3600}, SECRET, "HS256"))
    say("eternal", jwt.encode(without("exp"), SECRET, "HS256"))
    say("other-issuer", jwt.encode(good | {"iss": "https://evil.example"}, SECRET, "HS256"))
    say("no-issuer", jwt.encode(without("iss"), SECRET, "HS256"))
    say("other-audience", jwt.encode(good | {"aud": "mail"}, SECRET, "HS256"))
    say("no-audience", jwt.encode(without("aud"), SECRET, "HS256"))
    say("stronger", jwt.encode(good, SECRET, "HS512"))
    say("unsigned", by_hand({"alg": "none", "typ": "JWT"}, good, None))
    # Signed with what everybody knows.
    say("confused", by_hand({"alg": "HS256", "typ": "JWT"}, good, pem(keys["RS256"])))
    ring = {kid: rsa_key() for kid in ["one", "two"]}
    to_jwk = jwt.algorithms.RSAAlgorithm.to_jwk
    jwks = [json.loads(to_jwk(key.public_key())) | {"kid": kid, "use": "sig"} for kid, key in ring.items()]
    directory.joinpath("jwks.json").write_text(json.dumps({"keys": jwks}))
    for kid, key in ring.items():
        say(f"kid-{kid}", jwt.encode(good, key, "RS256", {"kid": kid}))
    say("kid-swapped", jwt.encode(good, ring["one"], "RS256", {"kid": "two"}))
    say("kid-unknown", jwt.encode(good, ring["one"], "RS256", {"kid": "three"}))
    say("kid-missing", jwt.encode(good, ring["one"], "RS256"))
    print("end", flush=True)


main(pathlib.Path(sys.argv[1]))
