#!/usr/bin/env python3
"""Shows a PNG as a PAM (P7) on stdout: red, green, blue and opacity of each pixel.

Written from decode/png.txt and decode/deflate.txt. Samples have 16 bits if those of the file have,
else 8 bits.
"""

import sys

from deflate import Wrong, crc32, zlib

SIGNATURE = bytes.fromhex("89504E470D0A1A0A")
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
# First column, every, first row, every.
ADAM7 = [(0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2),
         (0, 1, 1, 2)]


def chunks(data):
    """Kind and content of each chunk up to IEND."""
    if data[:8] != SIGNATURE:
        raise Wrong("not a PNG")
    place, kind = 8, b""
    while kind != b"IEND":
        length = int.from_bytes(data[place:place + 4], "big")
        body = data[place + 4:place + 8 + length]
        check = data[place + 8 + length:place + 12 + length]
        if len(data) < place + 12 + length:
            raise Wrong("the file ends too early")
        if int.from_bytes(check, "big") != crc32(body):
            raise Wrong("the CRC of a chunk does not match")
        kind = body[:4]
        yield kind, body[4:]
        place += 12 + length


def paeth(a, b, c):
    p = a + b - c
    if abs(p - a) <= abs(p - b) and abs(p - a) <= abs(p - c):
        return a
    return b if abs(p - b) <= abs(p - c) else c


def unfilter(kind, row, above, bpp):
    """Undoes the filter of a row, in place."""
    for i in range(len(row)):
        a = row[i - bpp] if i >= bpp else 0
        b = above[i]
        c = above[i - bpp] if i >= bpp else 0
        added = (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]
        row[i] = (row[i] + added) & 255


def samples(row, count, depth):
    """The first samples of a row."""
    if depth == 16:
        return [row[2 * i] << 8 | row[2 * i + 1] for i in range(count)]
    mask = (1 << depth) - 1
    return [row[i * depth // 8] >> (8 - depth - i * depth % 8) & mask for i in range(count)]


class Picture:
    def __init__(self, header):
        if len(header) != 13:
            raise Wrong("a header of another length")
        self.width = int.from_bytes(header[:4], "big")
        self.height = int.from_bytes(header[4:8], "big")
        self.depth, self.type, compression, filters, self.interlace = header[8:]
        if self.type not in SAMPLES or self.depth not in DEPTHS[self.type]:
            raise Wrong("no such colour type and depth")
        if compression or filters or self.interlace > 1 or not self.width or not self.height:
            raise Wrong("a header that cannot be")
        self.palette, self.trns, self.idat = None, None, []

    def pixel(self, values):
        """Red, green, blue and opacity."""
        top = 65535 if self.depth == 16 else 255
        if self.type == 3:
            number = values[0]
            if number * 3 + 3 > len(self.palette):
                raise Wrong("a colour that is not in the palette")
            opacity = self.trns[number] if self.trns and number < len(self.trns) else 255
            return (*self.palette[number * 3:number * 3 + 3], opacity)
        opacity = top
        if self.type in (4, 6):
            opacity = values[-1] * top // ((1 << self.depth) - 1)
            values = values[:-1]
        elif self.trns:
            one = [int.from_bytes(self.trns[2 * i:2 * i + 2], "big") for i in range(len(values))]
            opacity = 0 if one == values else top
        values = [v * top // ((1 << self.depth) - 1) for v in values]
        return (*(values * 3 if len(values) == 1 else values), opacity)

    def pixels(self):
        """All pixels, by place."""
        data, place = zlib(b"".join(self.idat)), 0
        bits = SAMPLES[self.type] * self.depth
        if self.width * self.height * bits > 8 * len(data):
            raise Wrong("too few pixels")
        whole = [None] * (self.width * self.height)
        for x0, dx, y0, dy in ADAM7 if self.interlace else [(0, 1, 0, 1)]:
            width = max(0, (self.width - x0 + dx - 1) // dx)
            height = max(0, (self.height - y0 + dy - 1) // dy)
            length = (width * bits + 7) // 8
            above = bytearray(length)
            for y in range(height if width else 0):
                row = bytearray(data[place + 1:place + 1 + length])
                if len(row) != length or data[place] > 4:
                    raise Wrong("too few pixels, or a filter that nobody knows")
                unfilter(data[place], row, above, max(1, bits // 8))
                place += 1 + length
                values = samples(row, width * SAMPLES[self.type], self.depth)
                n = SAMPLES[self.type]
                for x in range(width):
                    at = (y0 + y * dy) * self.width + x0 + x * dx
                    whole[at] = self.pixel(values[x * n:x * n + n])
                above = row
        if place != len(data):
            raise Wrong("more pixels than there can be")
        return whole


def read(data):
    picture = None
    for kind, content in chunks(data):
        if (picture is None) != (kind == b"IHDR"):
            raise Wrong("IHDR is not the first chunk, or there are two")
        if kind == b"IHDR":
            picture = Picture(content)
        elif kind == b"PLTE":
            picture.palette = content
        elif kind == b"tRNS":
            picture.trns = content
        elif kind == b"IDAT":
            picture.idat.append(content)
        elif kind != b"IEND" and kind[:1].isupper():
            raise Wrong("an unknown chunk that cannot be skipped")
    if picture.type == 3 and picture.palette is None:
        raise Wrong("there is no palette")
    return picture


def show(data):
    """The PAM."""
    picture = read(data)
    size = 2 if picture.depth == 16 else 1
    out = b"".join(v.to_bytes(size, "big") for pixel in picture.pixels() for v in pixel)
    head = "P7\nWIDTH %d\nHEIGHT %d\nDEPTH 4\nMAXVAL %d\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    head %= picture.width, picture.height, 256**size - 1
    return head.encode() + out


def main():
    with open(sys.argv[1], "rb") as file:
        sys.stdout.buffer.write(show(file.read()))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[1], why))
