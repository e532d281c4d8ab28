"""Verifies an ML-DSA-65 signature as decode/ml-dsa-65.txt describes it. No library.

    ml_dsa_65.py KEY.pem SIGNATURE MESSAGE

Prints "valid" and ends with 0, or "not valid" and ends with 1.
"""

import sys

import pem

# Keccak-f[1600]

WORD = (1 << 64) - 1


def turn(x, n):
    """Turned to the left by n of 64 bits."""
    return (x << n | x >> (64 - n)) & WORD


def round_constants():
    out, state = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if state & 1:
                constant |= 1 << (2**j - 1)
            state <<= 1
            if state & 256:
                state ^= 0x171
        out.append(constant)
    return out


def turns():
    """By how much each of the 25 words is turned."""
    out = [0] * 25
    x, y = 1, 0
    for t in range(24):
        out[x + 5 * y] = (t + 1) * (t + 2) // 2 % 64
        x, y = y, (2 * x + 3 * y) % 5
    return out


ROUND_CONSTANTS = round_constants()
TURNS = turns()
MOVES = [x // 5 + 5 * ((2 * (x % 5) + 3 * (x // 5)) % 5) for x in range(25)]


def keccak(a):
    """The permutation of 25 words of 64 bits."""
    for constant in ROUND_CONSTANTS:
        c = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        d = [c[x - 1] ^ turn(c[(x + 1) % 5], 1) for x in range(5)]
        b = [0] * 25
        for i in range(25):
            b[MOVES[i]] = turn(a[i] ^ d[i % 5], TURNS[i])
        a = [
            b[i] ^ ((b[i - i % 5 + (i + 1) % 5] ^ WORD) & b[i - i % 5 + (i + 2) % 5])
            for i in range(25)
        ]
        a[0] ^= constant
    return a


def shake(rate, message):
    """A stream of bytes out of a message; rate 168 is SHAKE128, 136 is SHAKE256."""
    padded = bytearray(message) + b"\x1f"
    padded += bytes(-len(padded) % rate)
    padded[-1] |= 0x80
    state = [0] * 25
    for start in range(0, len(padded), rate):
        for i in range(rate // 8):
            at = start + 8 * i
            state[i] ^= int.from_bytes(padded[at : at + 8], "little")
        state = keccak(state)
    while True:
        for word in state[: rate // 8]:
            yield from word.to_bytes(8, "little")
        state = keccak(state)


def shake256(message, length):
    stream = shake(136, message)
    return bytes(next(stream) for _ in range(length))


# Polynomials: lists of 256 numbers modulo Q

Q = 8380417
K, L = 6, 5
TAU, OMEGA = 49, 55
GAMMA_1, GAMMA_2 = 2**19, 261888
BETA = 196


def reversed_bits(n):
    """The 8 bits of n in reverse order."""
    return int(f"{n:08b}"[::-1], 2)


ZETAS = [pow(1753, reversed_bits(n), Q) for n in range(256)]


def ntt(poly):
    a, n, length = list(poly), 0, 128
    while length >= 1:
        for start in range(0, 256, 2 * length):
            n += 1
            for j in range(start, start + length):
                t = ZETAS[n] * a[j + length] % Q
                a[j], a[j + length] = (a[j] + t) % Q, (a[j] - t) % Q
        length //= 2
    return a


def inverse_ntt(values):
    a, n, length = list(values), 256, 1
    while length <= 128:
        for start in range(0, 256, 2 * length):
            n -= 1
            for j in range(start, start + length):
                x, y = a[j], a[j + length]
                a[j], a[j + length] = (x + y) % Q, (y - x) * ZETAS[n] % Q
        length *= 2
    return [8347681 * x % Q for x in a]


def sampled(rho, row, column):
    """An entry of the matrix A, as the NTT of a polynomial."""
    stream = shake(168, rho + bytes([column, row]))
    out = []
    while len(out) < 256:
        number = next(stream) | next(stream) << 8 | (next(stream) & 127) << 16
        if number < Q:
            out.append(number)
    return out


def challenge(seed):
    """The polynomial c with 49 coefficients 1 or -1."""
    stream = shake(136, seed)
    signs = int.from_bytes(bytes(next(stream) for _ in range(8)), "little")
    c = [0] * 256
    for i in range(256 - TAU, 256):
        j = next(stream)
        while j > i:
            j = next(stream)
        c[i] = c[j]
        c[j] = -1 if signs & 1 else 1
        signs >>= 1
    return c


def unpacked(bytes_, bits):
    """Numbers of so many bits each, lowest bit first."""
    number = int.from_bytes(bytes_, "little")
    count = 8 * len(bytes_) // bits
    return [number >> (bits * i) & ((1 << bits) - 1) for i in range(count)]


def hints(bytes_):
    """The six rows of hints, 256 times 0 or 1 each; None if they are not well formed."""
    rows, start = [], 0
    for row in range(K):
        end = bytes_[OMEGA + row]
        if end < start or end > OMEGA:
            return None
        places = bytes_[start:end]
        if any(places[i] >= places[i + 1] for i in range(len(places) - 1)):
            return None
        rows.append([1 if i in places else 0 for i in range(256)])
        start = end
    if any(bytes_[start:OMEGA]):
        return None
    return rows


def decompose(r):
    """r = high * 2 * GAMMA_2 + low."""
    low = r % (2 * GAMMA_2)
    if low > GAMMA_2:
        low -= 2 * GAMMA_2
    if r - low == Q - 1:
        return 0, low - 1
    return (r - low) // (2 * GAMMA_2), low


def use_hint(hint, r):
    high, low = decompose(r)
    if hint == 0:
        return high
    return (high + 1) % 16 if low > 0 else (high - 1) % 16


def verify(key, signature, message):
    if len(key) != 32 + 320 * K or len(signature) != 48 + 640 * L + OMEGA + K:
        return False
    rho = key[:32]
    t1 = [unpacked(key[32 + 320 * r : 352 + 320 * r], 10) for r in range(K)]
    seed = signature[:48]
    z = [
        [GAMMA_1 - v for v in unpacked(signature[48 + 640 * s : 688 + 640 * s], 20)]
        for s in range(L)
    ]
    h = hints(signature[48 + 640 * L :])
    if h is None:
        return False
    if any(abs(v) >= GAMMA_1 - BETA for poly in z for v in poly):
        return False
    tr = shake256(key, 64)
    mu = shake256(tr + b"\0\0" + message, 64)
    c = ntt(challenge(seed))
    z = [ntt(poly) for poly in z]
    w1 = bytearray()
    for r in range(K):
        t = ntt([x << 13 for x in t1[r]])
        a = [sampled(rho, r, s) for s in range(L)]
        w = inverse_ntt(
            [sum(a[s][i] * z[s][i] for s in range(L)) - c[i] * t[i] for i in range(256)]
        )
        high = [use_hint(h[r][i], w[i] % Q) for i in range(256)]
        w1 += bytes(high[i] + 16 * high[i + 1] for i in range(0, 256, 2))
    return shake256(mu + w1, 48) == seed


def main(key, signature, message):
    try:
        _, key = pem.public_key(key, "ml-dsa-65")
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
