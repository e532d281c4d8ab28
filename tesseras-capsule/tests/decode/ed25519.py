"""Verifies an Ed25519 signature as decode/ed25519.txt describes it. No library.

    ed25519.py KEY.pem SIGNATURE MESSAGE

Prints "valid" and ends with 0, or "not valid" and ends with 1.
"""

import io
import sys

import pem
import sha256

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493


def power(x, n):
    """x to the n-th, modulo P, by squaring."""
    out = 1
    for bit in bin(n)[2:]:
        out = out * out % P
        if bit == "1":
            out = out * x % P
    return out


def divide(x, y):
    return x * power(y, P - 2) % P


D = divide(-121665, 121666)
I = power(2, (P - 1) // 4)  # noqa: E741
NEUTRAL = (0, 1, 1, 0)


def decode(bytes_):
    """The point of 32 bytes, or None. A point is X, Y, Z, T: x = X/Z, y = Y/Z, xy = T/Z."""
    number = int.from_bytes(bytes_, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    w = divide(u, v)  # the square of x
    x = power(w, (P + 3) // 8)
    if x * x % P != w:
        x = x * I % P
    if x * x % P != w:
        return None
    if x == 0 and sign == 1:
        return None
    if x % 2 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


def encode(point):
    x, y, z, _ = point
    x, y = divide(x, z), divide(y, z)
    return (y + ((x % 2) << 255)).to_bytes(32, "little")


def add(one, two):
    """The sum of any two points, equal ones too."""
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = two
    a = (y1 - x1) * (y2 - x2) % P
    b = (y1 + x1) * (y2 + x2) % P
    c = 2 * D * t1 * t2 % P
    d = 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(n, point):
    """n times a point."""
    out = NEUTRAL
    for bit in bin(n)[2:]:
        out = add(out, out)
        if bit == "1":
            out = add(out, point)
    return out


def is_small(point):
    """Whether eight times the point is the neutral one."""
    return encode(times(8, point)) == encode(NEUTRAL)


BASE = decode(divide(4, 5).to_bytes(32, "little"))


def verify(key, signature, message):
    if len(key) != 32 or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    a_point, r_point = decode(key), decode(r)
    if s >= L or a_point is None or r_point is None:
        return False
    if is_small(a_point) or is_small(r_point):
        return False
    digest = sha256.digest(io.BytesIO(r + key + message), sha256.SHA512)
    k = int.from_bytes(digest, "little") % L
    x, y, z, t = a_point
    minus_a = (P - x, y, z, P - t)
    return encode(add(times(s, BASE), times(k, minus_a))) == r


def main(key, signature, message):
    try:
        _, key = pem.public_key(key, "ed25519")
    except pem.NotPem as error:
        print(error, file=sys.stderr)
        key = b""
    with open(signature, "rb") as file:
        signature = file.read()
    with open(message, "rb") as file:
        message = file.read()
    valid = verify(key, signature, message)
    print("valid" if valid else "not valid")
    return 0 if valid else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
