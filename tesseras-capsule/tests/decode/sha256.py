"""SHA-256 as decode/sha256.txt describes it, and nothing else: no library.

    sha256.py FILE...     prints the number of each file, two spaces, its path
    sha256.py -c LIST...  checks the files named in such a list (SHA256SUMS)
    sha256.py --512 FILE...   the same as the first with SHA-512
"""

import io
import sys


def primes(count):
    found = []
    n = 2
    while len(found) < count:
        if all(n % p for p in found):
            found.append(n)
        n += 1
    return found


def root(n, power):
    """The integer part of the root of n (power 2: square, 3: cube)."""
    low, high = 0, 1 << (n.bit_length() // power + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if middle**power <= n:
            low = middle
        else:
            high = middle
    return low


class Kind:
    """What differs between SHA-256 and SHA-512."""

    def __init__(self, bits, steps, s0, s1, big0, big1):
        self.bits = bits
        self.mask = (1 << bits) - 1
        self.block = 2 * bits  # 16 words, in bytes
        self.steps = steps
        self.s0, self.s1, self.big0, self.big1 = s0, s1, big0, big1
        # The integer part of root(p) * 2^bits is the root of p * 2^(bits * power).
        self.start = [root(p << (2 * bits), 2) & self.mask for p in primes(8)]
        self.k = [root(p << (3 * bits), 3) & self.mask for p in primes(steps)]


SHA256 = Kind(32, 64, (7, 18, 3), (17, 19, 10), (2, 13, 22), (6, 11, 25))
SHA512 = Kind(64, 80, (1, 8, 7), (19, 61, 6), (28, 34, 39), (14, 18, 41))


def one_block(kind, state, block):
    """The new state after a block."""
    bits, mask = kind.bits, kind.mask

    def rotr(x, n):
        return (x >> n | x << (bits - n)) & mask

    size = bits // 8
    w = [int.from_bytes(block[i : i + size], "big") for i in range(0, len(block), size)]
    for t in range(16, kind.steps):
        x, y = w[t - 15], w[t - 2]
        s0 = rotr(x, kind.s0[0]) ^ rotr(x, kind.s0[1]) ^ (x >> kind.s0[2])
        s1 = rotr(y, kind.s1[0]) ^ rotr(y, kind.s1[1]) ^ (y >> kind.s1[2])
        w.append((w[t - 16] + s0 + w[t - 7] + s1) & mask)
    (p, q, r), (u, v, z) = kind.big0, kind.big1
    a, b, c, d, e, f, g, h = state
    for t in range(kind.steps):
        big1 = rotr(e, u) ^ rotr(e, v) ^ rotr(e, z)
        ch = (e & f) ^ ((mask ^ e) & g)
        t1 = h + big1 + ch + kind.k[t] + w[t]
        big0 = rotr(a, p) ^ rotr(a, q) ^ rotr(a, r)
        ma = (a & b) ^ (a & c) ^ (b & c)
        h, g, f, e = g, f, e, (d + t1) & mask
        d, c, b, a = c, b, a, (t1 + big0 + ma) & mask
    return [(x + y) & mask for x, y in zip(state, (a, b, c, d, e, f, g, h))]


def digest(file, kind=SHA256):
    """The number of an open file, as bytes."""
    state, total = list(kind.start), 0
    while True:
        block = file.read(kind.block)
        total += len(block)
        if len(block) < kind.block:
            break
        state = one_block(kind, state, block)
    length = kind.bits // 4  # 8 or 16 bytes
    block += b"\x80"
    block += bytes((kind.block - length - len(block)) % kind.block)
    block += (8 * total).to_bytes(length, "big")
    for i in range(0, len(block), kind.block):
        state = one_block(kind, state, block[i : i + kind.block])
    return b"".join(x.to_bytes(kind.bits // 8, "big") for x in state)


def opened(path):
    """A file; "-" is what comes from another program."""
    return io.BytesIO(sys.stdin.buffer.read()) if path == "-" else open(path, "rb")


def of_path(path, of_file=digest):
    with opened(path) as file:
        return of_file(file).hex()


def check(lists, of_file=digest):
    """Checks lists of "<64 digits>  <path>"; 0 if all files are as they say, else 1."""
    wrong, lines = 0, 0
    for name in lists:
        with opened(name) as file:
            rows = file.read().split(b"\n")
        if rows[-1] != b"":
            print(f"{name}: its last line has no end", file=sys.stderr)
            wrong += 1
        for row in rows[:-1]:
            lines += 1
            digits, gap, path = row[:64], row[64:66], row[66:]
            shown = path.decode("utf-8", "replace")
            if any(c not in b"0123456789abcdef" for c in digits) or gap != b"  " or not path:
                print(f"{name}: line {lines} is not a number and a path", file=sys.stderr)
                wrong += 1
                continue
            try:
                same = of_path(path, of_file) == digits.decode()
            except OSError as error:
                print(f"{shown}: FAILED ({error.strerror})")
                wrong += 1
                continue
            print(f"{shown}: {'OK' if same else 'FAILED'}")
            wrong += not same
    if lines == 0:
        print("there is no line to check", file=sys.stderr)
    return 1 if wrong or lines == 0 else 0


def main(arguments, of_file=digest):
    if arguments[:1] == ["-c"]:
        return check(arguments[1:], of_file)
    for path in arguments or ["-"]:
        print(f"{of_path(path, of_file)}  {path}")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--512"]:
        sys.exit(main(sys.argv[2:], lambda file: digest(file, SHA512)))
    sys.exit(main(sys.argv[1:]))
