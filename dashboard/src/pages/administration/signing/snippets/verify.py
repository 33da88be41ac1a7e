import hashlib
import hmac
import sys


def is_authentic(secret: str, body: bytes, signature: str) -> bool:
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode())


print("true" if is_authentic(sys.argv[1], sys.stdin.buffer.read(), sys.argv[2]) else "false")
