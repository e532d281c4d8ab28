#!/usr/bin/env python3
"""Shows the first picture of a TIFF as a PAM (P7) on stdout: red, green, blue and opacity.

Written from decode/tiff.txt and decode/deflate.txt. It reads grey, palette and red-green-blue of 1
to 16 bits, in strips and tiles, with all compressions that the text describes but JPEG. Samples of
16 bits are reduced to 8.
"""

import sys

from deflate import Wrong, zlib

LENGTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
           16: 8, 17: 8, 18: 8}


class File:
    def __init__(self, data):
        self.data = data
        self.order = {b"II": "little", b"MM": "big"}.get(data[:2])
        if self.order is None:
            raise Wrong("not a TIFF")
        kind = self.number(2, 2)
        if kind not in (42, 43):
            raise Wrong("not a TIFF")
        self.wide = 8 if kind == 43 else 4
        self.tags = self.table(self.number(4 if kind == 42 else 8, self.wide))

    def bytes(self, place, size):
        found = self.data[place:place + size]
        if len(found) != size:
            raise Wrong("the file ends too early")
        return found

    def number(self, place, size):
        return int.from_bytes(self.bytes(place, size), self.order)

    def table(self, place):
        """Tag to values, for whole numbers."""
        count, tags = 2 if self.wide == 4 else 8, {}
        for i in range(self.number(place, count)):
            at = place + count + i * (4 + 2 * self.wide)
            tag, type, n = self.number(at, 2), self.number(at + 2, 2), self.number(at + 4, self.wide)
            size, where = LENGTHS.get(type, 0), at + 4 + self.wide
            if size * n > self.wide:
                where = self.number(where, self.wide)
            if type in (1, 3, 4, 13, 16, 18):
                self.bytes(where, size * n)
                tags[tag] = [self.number(where + size * j, size) for j in range(n)]
        end = place + count + self.number(place, count) * (4 + 2 * self.wide)
        self.number(end, self.wide)          # the place of the next table
        return tags

    def tag(self, tag, otherwise=None):
        values = self.tags.get(tag) or otherwise
        if values is None:
            raise Wrong("tag %d is missing" % tag)
        return values


def pack_bits(data):
    out, place = bytearray(), 0
    while place < len(data):
        n = data[place]
        if n < 128:
            out += data[place + 1:place + 2 + n]
            place += 2 + n
        elif n > 128:
            out += data[place + 1:place + 2] * (257 - n)
            place += 2
        else:
            place += 1
    return bytes(out)


def lzw(data):
    held, place, size, out, old, table = 0, 0, 9, bytearray(), None, {}
    while True:
        first, end = place // 8, (place + size + 7) // 8
        if end > len(data):
            return bytes(out)                # some programs leave out "end"
        held = int.from_bytes(data[first:end], "big") >> 8 * end - place - size
        code, place = held & (1 << size) - 1, place + size
        if code == 257:
            return bytes(out)
        if code == 256:
            table, size, old = {i: bytes([i]) for i in range(256)}, 9, None
            following = 258
            continue
        if code in table:
            row = table[code]
        elif old is not None and code == following:
            row = table[old] + table[old][:1]
        else:
            raise Wrong("a code that nobody has")
        out += row
        if old is not None:
            table[following] = table[old] + row[:1]
            following += 1
        if following + 1 in (512, 1024, 2048):
            size = (following + 1).bit_length()
        old = code


def unpack(data, compression):
    if compression == 1:
        return data
    if compression == 5:
        return lzw(data)
    if compression in (8, 32946):
        return zlib(data)
    if compression == 32773:
        return pack_bits(data)
    raise Wrong("compression %d is not read here" % compression)


class Picture:
    def __init__(self, file):
        self.file = file
        self.width, self.height = file.tag(256)[0], file.tag(257)[0]
        self.n, self.bits = file.tag(277, [1])[0], file.tag(258, [1])[0]
        self.meaning = file.tag(262)[0]
        if self.bits not in (1, 2, 4, 8, 16) or self.meaning > 3 or file.tag(266, [1])[0] != 1:
            raise Wrong("a kind of picture that is not read here")
        if not 0 < self.width * self.height < 1 << 28:
            raise Wrong("a picture without size, or too large to be true")
        if self.n < (3 if self.meaning == 2 else 1):
            raise Wrong("too few samples")
        self.apart = file.tag(284, [1])[0] == 2

    def rows(self, data, width, height):
        """Rows of samples of a strip or tile."""
        n = 1 if self.apart else self.n
        length = (width * n * self.bits + 7) // 8
        if len(data) < length * height:
            raise Wrong("too few pixels")
        for y in range(height):
            row = data[y * length:(y + 1) * length]
            if self.bits == 16:
                row = [int.from_bytes(row[i:i + 2], self.file.order) for i in range(0, length, 2)]
            elif self.bits < 8:
                row = [b >> s & (1 << self.bits) - 1 for b in row
                       for s in range(8 - self.bits, -1, -self.bits)]
            row = list(row)
            if self.file.tag(317, [1])[0] == 2:
                for i in range(n, len(row)):
                    row[i] = (row[i] + row[i - n]) % (1 << self.bits)
            yield [row[x * n:x * n + n] for x in range(width)]

    def pieces(self):
        """Column, row, width and height of each strip or tile, and its data."""
        file = self.file
        if 322 in file.tags:
            w, h = file.tag(322)[0], file.tag(323)[0]
            places, lengths = file.tag(324), file.tag(325)
        else:
            w, h = self.width, min(file.tag(278, [self.height])[0], self.height)
            places, lengths = file.tag(273), file.tag(279)
        if not w or not h:
            raise Wrong("tiles without size")
        where = [(x, y) for y in range(0, self.height, h) for x in range(0, self.width, w)]
        if len(places) < len(where) * (self.n if self.apart else 1) or len(places) != len(lengths):
            raise Wrong("pieces are missing")
        for i, (place, length) in enumerate(zip(places, lengths)):
            x, y = where[i % len(where)]
            height = h if 322 in file.tags else min(h, self.height - y)
            data = unpack(file.bytes(place, length), file.tag(259, [1])[0])
            yield x, y, w, height, data

    def pixels(self):
        """All pixels, each a list of samples."""
        whole = [[] for _ in range(self.width * self.height)]
        for left, top, w, h, data in self.pieces():
            for y, row in enumerate(self.rows(data, w, h), top):
                for x, samples in enumerate(row, left):
                    if x < self.width and y < self.height:
                        whole[y * self.width + x] += samples
        return whole

    def colour(self, samples):
        full = (1 << self.bits) - 1
        if self.meaning == 3:
            palette = self.file.tag(320)
            if len(palette) < 3 << self.bits:
                raise Wrong("the palette is too short")
            colour = [palette[samples[0] + (i << self.bits)] // 256 for i in range(3)]
            return (*colour, 255)
        samples = [s * 255 // full for s in samples]
        colours = 3 if self.meaning == 2 else 1
        opacity = samples[colours] if len(samples) > colours and 338 in self.file.tags else 255
        colour = samples[:colours]
        if self.meaning == 0:
            colour = [255 - s for s in colour]
        return (*(colour * 3 if colours == 1 else colour), opacity)


def show(data):
    """The PAM."""
    picture = Picture(File(data))
    out = bytes(v for pixel in picture.pixels() for v in picture.colour(pixel))
    head = "P7\nWIDTH %d\nHEIGHT %d\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    return (head % (picture.width, picture.height)).encode() + out


def main():
    with open(sys.argv[1], "rb") as file:
        sys.stdout.buffer.write(show(file.read()))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[1], why))
