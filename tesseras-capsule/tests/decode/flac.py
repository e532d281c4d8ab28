#!/usr/bin/env python3
"""Prints the samples of a FLAC file. Written from decode/flac.txt alone.

First line: samples per second, channels, number of samples per channel. Then one line with a sample
of each channel, and so on. The MD5 is not checked.
"""

import sys


class Wrong(Exception):
    """The file does not follow the description."""


class Bits:
    def __init__(self, data, place):
        self.data, self.at = data, 8 * place  # at: the next bit

    def place(self):
        return self.at // 8

    def number(self, n):
        first, end = self.at // 8, (self.at + n + 7) // 8
        if end > len(self.data):
            raise Wrong("the file ends too early")
        value = int.from_bytes(self.data[first:end], "big")
        self.at += n
        return value >> 8 * end - self.at & (1 << n) - 1

    def signed(self, n):
        value = self.number(n)
        return value - (1 << n) if n and value >> n - 1 else value

    def unary(self):
        count = 0
        while not self.number(1):
            count += 1
        return count


def crc(data, bits, polynomial):
    c = 0
    for x in data:
        c ^= x << bits - 8
        for _ in range(8):
            c *= 2
            if c >> bits:
                c = c - (1 << bits) ^ polynomial
    return c


RATES = [None, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000]
DEPTHS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
FIXED = [[], [1], [2, -1], [3, -3, 1], [4, -6, 4, -1]]


class Frame:
    def __init__(self, bits, depth):
        start = bits.place()
        if bits.number(15) != 0b111111111111100:
            raise Wrong("a frame does not begin where it should")
        bits.number(1)
        a, r, c, s = (bits.number(n) for n in (4, 4, 4, 3))
        if bits.number(1) or a == 0 or r == 15 or c > 10 or s == 3:
            raise Wrong("a frame that cannot be")
        first = bits.number(8)
        ones = 0
        while first >> 7 - ones & 1 and ones < 8:
            ones += 1
        if ones == 1 or ones == 8:
            raise Wrong("a number of a frame that cannot be")
        bits.number(8 * max(0, ones - 1))
        self.size = 192 if a == 1 else 576 << a - 2 if a < 6 else 256 << max(0, a - 8)
        if a in (6, 7):
            self.size = bits.number(8 * (a - 5)) + 1
        if r >= 12:
            bits.number(8 if r == 12 else 16)
        check = crc(bits.data[start:bits.place()], 8, 7)
        if bits.number(8) != check:
            raise Wrong("the CRC-8 of a frame does not match")
        depth = DEPTHS.get(s, depth)
        channels = []
        for i in range(c + 1 if c < 8 else 2):
            difference = c == 9 and i == 0 or c in (8, 10) and i == 1
            channels.append(self.subframe(bits, depth + difference))
        bits.number(-bits.at % 8)
        check = crc(bits.data[start:bits.place()], 16, 0x8005)
        if bits.number(16) != check:
            raise Wrong("the CRC-16 of a frame does not match")
        self.samples = [list(together(c, row)) for row in zip(*channels)]

    def subframe(self, bits, w):
        if bits.number(1):
            raise Wrong("a subframe that cannot be")
        kind, low = bits.number(6), 0
        if bits.number(1):
            low = bits.unary() + 1
            w -= low
        if w < 1:
            raise Wrong("samples without bits")
        if kind == 0:
            samples = [bits.signed(w)] * self.size
        elif kind == 1:
            samples = [bits.signed(w) for _ in range(self.size)]
        elif 8 <= kind <= 12:
            samples = [bits.signed(w) for _ in range(kind - 8)]
            self.predict(bits, samples, FIXED[kind - 8], 0)
        elif kind >= 32:
            samples = [bits.signed(w) for _ in range(kind - 31)]
            g, h = bits.number(4) + 1, bits.signed(5)
            if g == 16 or h < 0:
                raise Wrong("a prediction that cannot be")
            self.predict(bits, samples, [bits.signed(g) for _ in range(kind - 31)], h)
        else:
            raise Wrong("a kind of subframe that nobody knows")
        return [sample << low for sample in samples]

    def predict(self, bits, samples, coefficients, h):
        for rest in self.rests(bits, len(samples)):
            before = reversed(samples[len(samples) - len(coefficients):])
            prediction = sum(q * x for q, x in zip(coefficients, before)) >> h
            samples.append(prediction + rest)

    def rests(self, bits, order):
        method, parts = bits.number(2), 1 << bits.number(4)
        if method > 1 or self.size % parts or self.size // parts < order:
            raise Wrong("parts that cannot be")
        b = 4 + method
        for part in range(parts):
            count = self.size // parts - (order if part == 0 else 0)
            t = bits.number(b)
            if t == (1 << b) - 1:
                n = bits.number(5)
                for _ in range(count):
                    yield bits.signed(n)
            else:
                for _ in range(count):
                    z = (bits.unary() << t) + bits.number(t)
                    yield -(z + 1) // 2 if z % 2 else z // 2


def together(c, row):
    """Left and right."""
    if c < 8:
        return row
    x, y = row
    if c == 8:
        return x, x - y
    if c == 9:
        return x + y, y
    m = 2 * x + y % 2
    return (m + y) // 2, (m - y) // 2


def show(data):
    """The lines."""
    if data[:4] != b"fLaC":
        raise Wrong("not a FLAC")
    bits, last, head = Bits(data, 4), 0, None
    while not last:
        last, kind, length = bits.number(1), bits.number(7), bits.number(24)
        if head is None:
            if kind != 0 or length != 34:
                raise Wrong("the first notes are missing")
            head = Bits(data, bits.place() + 10)
            rate, channels = head.number(20), head.number(3) + 1
            depth, count = head.number(5) + 1, head.number(36)
        bits.number(8 * length)
    samples = []
    while bits.place() < len(data):
        samples += Frame(bits, depth).samples
    if count not in (0, len(samples)) or any(len(row) != channels for row in samples):
        raise Wrong("the file ends too early, or has other channels than it says")
    rows = [(rate, channels, len(samples)), *samples]
    return "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()


def main():
    with open(sys.argv[1], "rb") as file:
        sys.stdout.buffer.write(show(file.read()))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[1], why))
