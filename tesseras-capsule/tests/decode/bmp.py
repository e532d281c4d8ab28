#!/usr/bin/env python3
"""Shows a BMP as a PAM (P7) on stdout: red, green, blue and opacity of each pixel.

Written from decode/bmp.txt alone.
"""

import sys


class Wrong(Exception):
    """The file does not follow the description."""


class Picture:
    def __init__(self, data):
        self.data = data
        if data[:2] != b"BM":
            raise Wrong("not a BMP")
        self.start, head = self.number(10, 4), self.number(14, 4)
        if head == 12:
            self.width, height = self.number(18, 2), self.number(20, 2)
            self.bits, self.compression, colours = self.number(24, 2), 0, 0
        elif head in (40, 52, 56, 64, 108, 124):
            self.width, height = self.number(18, 4), self.number(22, 4)
            self.bits, self.compression = self.number(28, 2), self.number(30, 4)
            colours = self.number(46, 4)
        else:
            raise Wrong("a header that nobody knows")
        self.downwards = height >= 1 << 31
        self.height = (1 << 32) - height if self.downwards else height
        allowed = {0: (1, 2, 4, 8, 16, 24, 32), 1: (8,), 2: (4,), 3: (16, 32), 6: (16, 32)}
        if self.bits not in allowed.get(self.compression, ()):
            raise Wrong("bits or compression that are not described")
        masked = {3: 3, 6: 4}.get(self.compression, 0)
        self.masks = [self.number(54 + 4 * i, 4) for i in range(masked)]
        if self.compression == 3 and head >= 56:
            self.masks.append(self.number(66, 4))
        if self.bits == 16 and not self.masks:
            self.masks = [0x7C00, 0x03E0, 0x001F]
        after = 14 + head + (4 * masked if head == 40 else 0)
        self.palette = self.colours(after, 3 if head == 12 else 4, colours)

    def number(self, place, size):
        if place + size > len(self.data):
            raise Wrong("the file ends too early")
        return int.from_bytes(self.data[place:place + size], "little")

    def colours(self, place, size, count):
        if self.bits > 8:
            return []
        count = min(count or 1 << self.bits, 1 << self.bits, (self.start - place) // size)
        return [tuple(self.number(place + size * i + c, 1) for c in (2, 1, 0))
                for i in range(count)]

    def of_palette(self, number):
        if number >= len(self.palette):
            raise Wrong("a colour that is not in the palette")
        return (*self.palette[number], 255)

    def by_mask(self, number):
        out = []
        for mask in self.masks:
            shift = (mask & -mask).bit_length() - 1 if mask else 0
            top = mask >> shift
            out.append(((number & mask) >> shift) * 255 // top if top else 0)
        return tuple(out) if len(out) == 4 and self.masks[3] else (*out[:3], 255)

    def rows(self):
        """All rows as they come in the file."""
        length = (self.width * self.bits + 31) // 32 * 4
        self.number(self.start + length * self.height - 1, 1)   # is it all there?
        for y in range(self.height):
            row = self.data[self.start + y * length:self.start + (y + 1) * length]
            if self.bits <= 8:
                per, mask = 8 // self.bits, (1 << self.bits) - 1
                yield [self.of_palette(row[x // per] >> self.bits * (per - 1 - x % per) & mask)
                       for x in range(self.width)]
                continue
            size, out = self.bits // 8, []
            for x in range(0, self.width * size, size):
                blue, green, red = row[x:x + 3] if size > 2 else (0, 0, 0)
                number = int.from_bytes(row[x:x + size], "little")
                out.append(self.by_mask(number) if self.masks else (red, green, blue, 255))
            yield out

    def runs(self):
        """Rows of a picture of run lengths."""
        place, x, y = self.start, 0, 0
        out = [[0] * self.width for _ in range(self.height)]

        def set(number):
            nonlocal x
            if x < self.width and y < self.height:
                out[y][x] = number
            x += 1

        def pixels(first, n):
            for i in range(n):
                if self.bits == 8:
                    yield self.number(first + i, 1)
                else:
                    yield self.number(first + i // 2, 1) >> (0 if i % 2 else 4) & 15

        while True:
            n, c = self.number(place, 1), self.number(place + 1, 1)
            place += 2
            if n:
                for i in range(n):
                    set(c if self.bits == 8 else c >> (0 if i % 2 else 4) & 15)
            elif c == 0:
                x, y = 0, y + 1
            elif c == 1:
                return [[self.of_palette(number) for number in row] for row in out]
            elif c == 2:
                x, y = x + self.number(place, 1), y + self.number(place + 1, 1)
                place += 2
            else:
                for number in pixels(place, c):
                    set(number)
                size = c if self.bits == 8 else (c + 1) // 2
                place += size + size % 2

    def pixels(self):
        """Rows from the top."""
        if self.width < 1 or self.height < 1 or self.width * self.height > 1 << 28:
            raise Wrong("a picture without size, or too large to be true")
        rows = list(self.runs() if self.compression in (1, 2) else self.rows())
        return rows if self.downwards else rows[::-1]


def show(data):
    """The PAM."""
    picture = Picture(data)
    out = bytes(v for row in picture.pixels() for pixel in row for v in pixel)
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
