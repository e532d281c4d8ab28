#!/usr/bin/env python3
"""Decompresses a file: raw deflate, zlib or gzip. Written from decode/deflate.txt alone.

deflate.py raw|zlib|gzip FILE     writes the output to stdout
deflate.py crc32|adler32 FILE     prints the check number in hexadecimal
"""

import sys

# Symbol - 257: base, extra bits.
LENGTHS = [(3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (11, 1), (13, 1),
           (15, 1), (17, 1), (19, 2), (23, 2), (27, 2), (31, 2), (35, 3), (43, 3), (51, 3),
           (59, 3), (67, 4), (83, 4), (99, 4), (115, 4), (131, 5), (163, 5), (195, 5), (227, 5),
           (258, 0)]
# Symbol: base, extra bits.
DISTANCES = [(1, 0), (2, 0), (3, 0), (4, 0), (5, 1), (7, 1), (9, 2), (13, 2), (17, 3), (25, 3),
             (33, 4), (49, 4), (65, 5), (97, 5), (129, 6), (193, 6), (257, 7), (385, 7), (513, 8),
             (769, 8), (1025, 9), (1537, 9), (2049, 10), (3073, 10), (4097, 11), (6145, 11),
             (8193, 12), (12289, 12), (16385, 13), (24577, 13)]
ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]


class Wrong(Exception):
    """The file does not follow the description."""


class Bits:
    """The bits of a deflate stream, from each byte the lowest first."""

    def __init__(self, data, place=0):
        self.data, self.place = data, place  # place: the next byte
        self.held, self.count = 0, 0         # bits taken from bytes but not yet used

    def bit(self):
        if self.count == 0:
            if self.place >= len(self.data):
                raise Wrong("the data ends too early")
            self.held, self.count = self.data[self.place], 8
            self.place += 1
        bit = self.held & 1
        self.held >>= 1
        self.count -= 1
        return bit

    def number(self, n):
        return sum(self.bit() << i for i in range(n))

    def bytes(self, n):
        """Whole bytes; what is left of the byte before is skipped."""
        self.count = 0
        if self.place + n > len(self.data):
            raise Wrong("the data ends too early")
        taken = self.data[self.place:self.place + n]
        self.place += n
        return taken


class Codes:
    """Huffman codes, made from the list of their lengths."""

    def __init__(self, lengths):
        self.table = {}                      # (bits, code): symbol
        code = 0
        for bits in range(1, 16):
            for symbol, length in enumerate(lengths):
                if length == bits:
                    self.table[bits, code] = symbol
                    code += 1
            if code > 1 << bits:
                raise Wrong("more codes than there can be")
            code *= 2

    def read(self, source):
        code = 0
        for bits in range(1, 16):
            code = code * 2 + source.bit()
            symbol = self.table.get((bits, code))
            if symbol is not None:
                return symbol
        raise Wrong("a code that nobody has")


FIXED = (Codes([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8), Codes([5] * 32))


def own_codes(bits):
    """The two lists at the beginning of a block of kind 2."""
    literals, distances = bits.number(5) + 257, bits.number(5) + 1
    if literals > 286 or distances > 30:
        raise Wrong("too many symbols")
    packed = [0] * 19
    for symbol in ORDER[:bits.number(4) + 4]:
        packed[symbol] = bits.number(3)
    codes, lengths = Codes(packed), []
    while len(lengths) < literals + distances:
        symbol = codes.read(bits)
        if symbol < 16:
            lengths.append(symbol)
        elif symbol == 16:
            if not lengths:
                raise Wrong("nothing to repeat")
            lengths += [lengths[-1]] * (3 + bits.number(2))
        elif symbol == 17:
            lengths += [0] * (3 + bits.number(3))
        else:
            lengths += [0] * (11 + bits.number(7))
    if len(lengths) > literals + distances or lengths[256] == 0:
        raise Wrong("wrong lists of codes")
    return Codes(lengths[:literals]), Codes(lengths[literals:])


def block(bits, out, literals, distances):
    """The symbols of one block."""
    while True:
        symbol = literals.read(bits)
        if symbol < 256:
            out.append(symbol)
        elif symbol == 256:
            return
        else:
            if symbol > 285:
                raise Wrong("no such length")
            base, extra = LENGTHS[symbol - 257]
            length = base + bits.number(extra)
            symbol = distances.read(bits)
            if symbol > 29:
                raise Wrong("no such distance")
            base, extra = DISTANCES[symbol]
            distance = base + bits.number(extra)
            if distance > len(out):
                raise Wrong("a copy from before the beginning")
            for _ in range(length):
                out.append(out[-distance])


def inflate(bits):
    """A deflate stream."""
    out = bytearray()
    last = 0
    while not last:
        last, kind = bits.bit(), bits.number(2)
        if kind == 0:
            n = int.from_bytes(bits.bytes(2), "little")
            if int.from_bytes(bits.bytes(2), "little") != n ^ 0xFFFF:
                raise Wrong("the length of a stored block is damaged")
            out += bits.bytes(n)
        elif kind == 1:
            block(bits, out, *FIXED)
        elif kind == 2:
            block(bits, out, *own_codes(bits))
        else:
            raise Wrong("there is no block of kind 3")
    return bytes(out)


def adler32(data):
    a, b = 1, 0
    for x in data:
        a = (a + x) % 65521
        b = (b + a) % 65521
    return b * 65536 + a


def eight_steps(c):
    for _ in range(8):
        c = c >> 1 ^ 0xEDB88320 if c & 1 else c >> 1
    return c


TABLE = [eight_steps(c) for c in range(256)]


def crc32(data):
    c = 0xFFFFFFFF
    for x in data:
        c = TABLE[(c ^ x) & 255] ^ c >> 8
    return c ^ 0xFFFFFFFF


def raw(data):
    return inflate(Bits(data))


def zlib(data):
    if len(data) < 2 or data[0] & 15 != 8 or data[0] >> 4 > 7 or (data[0] * 256 + data[1]) % 31:
        raise Wrong("not a zlib stream")
    if data[1] & 32:
        raise Wrong("it needs a dictionary")
    bits = Bits(data, 2)
    out = inflate(bits)
    if int.from_bytes(bits.bytes(4), "big") != adler32(out):
        raise Wrong("the Adler-32 does not match")
    return out


def gzip_member(bits):
    start = bits.place
    head = bits.bytes(10)
    if head[:3] != b"\x1f\x8b\x08" or head[3] & 0xE0:
        raise Wrong("not a gzip file")
    if head[3] & 4:
        bits.bytes(int.from_bytes(bits.bytes(2), "little"))
    for flag in (8, 16):                     # name, comment
        while head[3] & flag and bits.bytes(1) != b"\0":
            pass
    if head[3] & 2:
        check = crc32(bits.data[start:bits.place]) & 0xFFFF
        if int.from_bytes(bits.bytes(2), "little") != check:
            raise Wrong("the check number of the header does not match")
    out = inflate(bits)
    if int.from_bytes(bits.bytes(4), "little") != crc32(out):
        raise Wrong("the CRC-32 does not match")
    if int.from_bytes(bits.bytes(4), "little") != len(out) % 2**32:
        raise Wrong("the length does not match")
    return out


def gzip(data):
    """One or more gzip files, one after another."""
    bits = Bits(data)
    out = gzip_member(bits)
    while bits.place < len(data):
        out += gzip_member(bits)
    return out


def main():
    how, name = sys.argv[1:]
    with open(name, "rb") as file:
        data = file.read()
    if how in ("crc32", "adler32"):
        print("%08x" % {"crc32": crc32, "adler32": adler32}[how](data))
    else:
        sys.stdout.buffer.write({"raw": raw, "zlib": zlib, "gzip": gzip}[how](data))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[-1], why))
