#!/usr/bin/env python3
"""Shows the first picture of a GIF as a PAM (P7) on stdout. Written from decode/gif.txt alone.

Red, green, blue and opacity of each pixel of the whole; where nothing is painted, all are 0.
"""

import sys


class Wrong(Exception):
    """The file does not follow the description."""


class Bytes:
    def __init__(self, data):
        self.data, self.place = data, 0

    def take(self, n):
        taken = self.data[self.place:self.place + n]
        if len(taken) != n:
            raise Wrong("the file ends too early")
        self.place += n
        return taken

    def byte(self):
        return self.take(1)[0]

    def number(self):
        return int.from_bytes(self.take(2), "little")

    def palette(self, flags):
        if not flags & 128:
            return None
        data = self.take(3 << (flags & 7) + 1)
        return [tuple(data[i:i + 3]) for i in range(0, len(data), 3)]

    def sub_blocks(self):
        joined = b""
        while n := self.byte():
            joined += self.take(n)
        return joined


def codes(data):
    """A function that takes the next code of so many bits."""
    held, count, place = 0, 0, 0

    def take(size):
        nonlocal held, count, place
        while count < size:
            if place >= len(data):
                raise Wrong("the codes end too early")
            held |= data[place] << count
            count, place = count + 8, place + 1
        code = held & (1 << size) - 1
        held, count = held >> size, count - size
        return code

    return take


def lzw(data, m, wanted):
    """The colour numbers."""
    take, out, clear = codes(data), [], 1 << m
    table, size, old = {}, m + 1, None
    while len(out) < wanted:
        code = take(size)
        if code == clear:
            table = {i: (i,) for i in range(clear)}
            size, following, old = m + 1, clear + 2, None
            continue
        if code == clear + 1:
            break
        if not table:                        # no "clear" at the beginning
            table = {i: (i,) for i in range(clear)}
            following = clear + 2
        if code in table:
            row = table[code]
        elif old is not None and code == following and code < 4096:
            row = table[old] + table[old][:1]
        else:
            raise Wrong("a code that nobody has")
        out += row
        if old is not None and following < 4096:
            table[following] = table[old] + row[:1]
            following += 1
            if following == 1 << size and size < 12:
                size += 1
        old = code
    if len(out) < wanted:
        raise Wrong("too few pixels")
    return out[:wanted]


def rows_in_order(height, interlaced):
    if not interlaced:
        return range(height)
    return [y for first, every in ((0, 8), (4, 8), (2, 4), (1, 2))
            for y in range(first, height, every)]


def picture(file, common, transparent, whole, width, height):
    """Paints one picture."""
    left, top, w, h = (file.number() for _ in range(4))
    flags = file.byte()
    palette = file.palette(flags) or common or []
    m = file.byte()
    if not 2 <= m <= 8:
        raise Wrong("codes of %d bits" % m)
    numbers = lzw(file.sub_blocks(), m, w * h)
    for i, y in enumerate(rows_in_order(h, flags & 64)):
        for x in range(w):
            n = numbers[i * w + x]
            if n != transparent and left + x < width and top + y < height:
                colour = palette[n] if n < len(palette) else (0, 0, 0)
                whole[(top + y) * width + left + x] = (*colour, 255)


def first_picture(data):
    file = Bytes(data)
    if file.take(6) not in (b"GIF87a", b"GIF89a"):
        raise Wrong("not a GIF")
    width, height = file.number(), file.number()
    flags = file.byte()
    file.take(2)
    common, transparent = file.palette(flags), None
    if not 0 < width * height < 1 << 28:
        raise Wrong("a picture without size, or too large to be true")
    whole = [(0, 0, 0, 0)] * (width * height)
    while (kind := file.byte()) != 0x2C:
        if kind == 0x21:
            kind, content = file.byte(), file.sub_blocks()
            if kind == 0xF9 and len(content) == 4 and content[0] & 1:
                transparent = content[3]
        elif kind == 0x3B:
            raise Wrong("there is no picture in it")
        else:
            raise Wrong("a block that nobody knows")
    picture(file, common, transparent, whole, width, height)
    return width, height, whole


def show(data):
    """The PAM."""
    width, height, pixels = first_picture(data)
    head = "P7\nWIDTH %d\nHEIGHT %d\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"
    out = bytes(v for pixel in pixels for v in pixel)
    return (head % (width, height)).encode() + out


def main():
    with open(sys.argv[1], "rb") as file:
        sys.stdout.buffer.write(show(file.read()))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[1], why))
