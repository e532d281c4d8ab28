#!/usr/bin/env python3
"""Shows a baseline or progressive JPEG as a PPM (P6) on stdout. Written from decode/jpeg.txt alone.

With "exif" as its first argument it prints orientation and date instead.
"""

import math
import sys

ZIGZAG = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
          12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
          35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
          58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63]
# COSINES[u][x] = 1/2 c(u) cos((2x + 1) u pi / 16)
COSINES = [[(math.sqrt(0.5) if u == 0 else 1) / 2 * math.cos((2 * x + 1) * u * math.pi / 16)
            for x in range(8)] for u in range(8)]


class Wrong(Exception):
    """The file does not follow the description."""


def number(data):
    return int.from_bytes(data, "big")


def up(a, b):
    """a / b, rounded up."""
    return -(-a // b)


class Bits:
    """The coded bits of a scan."""

    def __init__(self, data, place):
        self.data, self.place, self.held, self.count = data, place, 0, 0

    def bit(self):
        if self.count == 0:
            self.held, self.count = self.byte(), 8
        self.count -= 1
        return self.held >> self.count & 1

    def byte(self):
        pair = self.data[self.place:self.place + 2]
        if len(pair) < 2:
            raise Wrong("the file ends too early")
        if pair[0] == 0xFF and pair[1] != 0:
            raise Wrong("the bits of a scan end too early")
        self.place += 2 if pair[0] == 0xFF else 1
        return pair[0]

    def receive(self, n):
        value = 0
        for _ in range(n):
            value = value * 2 + self.bit()
        return value

    def signed(self, n):
        """Receive and Extend."""
        value = self.receive(n)
        return value - (1 << n) + 1 if n and value < 1 << (n - 1) else value

    def symbol(self, table):
        code = 0
        for bits in range(1, 17):
            code = code * 2 + self.bit()
            if (bits, code) in table:
                return table[bits, code]
        raise Wrong("a code that nobody has")

    def marker(self):
        """Skips to the next marker, and returns it; the place is behind it."""
        self.count = 0
        while self.data[self.place:self.place + 2] == b"\xff\xff":
            self.place += 1
        pair = self.data[self.place:self.place + 2]
        if len(pair) < 2 or pair[0] != 0xFF:
            raise Wrong("a marker is missing")
        self.place += 2
        return pair[1]


class Component:
    """A part of the picture, with the numbers of all its blocks."""

    def __init__(self, entry):
        self.id, self.h, self.v, self.table = entry[0], entry[1] >> 4, entry[1] & 15, entry[2]
        if not 1 <= self.h <= 4 or not 1 <= self.v <= 4:
            raise Wrong("a component without size")
        self.pred = 0

    def lay_out(self, frame):
        self.width = up(frame.width * self.h, frame.hmax)
        self.height = up(frame.height * self.v, frame.vmax)
        self.across = up(frame.width, 8 * frame.hmax) * self.h
        self.down = up(frame.height, 8 * frame.vmax) * self.v
        self.blocks = {}

    def block(self, row, column):
        """64 numbers in zigzag order."""
        return self.blocks.setdefault((row, column), [0] * 64)

    def samples(self, tables):
        """All rows of samples, with those beyond the edges."""
        if self.table not in tables:
            raise Wrong("a quantisation table is missing")
        rows = [[128] * (self.across * 8) for _ in range(self.down * 8)]
        for (row, column), block in self.blocks.items():
            square = transform(block, tables[self.table])
            for y in range(8):
                rows[row * 8 + y][column * 8:column * 8 + 8] = square[y]
        return rows


def limit(value):
    return max(0, min(255, math.floor(value + 0.5)))


def transform(block, table):
    """Section 9: from 64 numbers to 8 rows of 8 samples."""
    f = [0] * 64
    for k in range(64):
        f[ZIGZAG[k]] = block[k] * table[k]
    g = []
    for v in range(8):
        row = [(u, f[8 * v + u]) for u in range(8) if f[8 * v + u]]
        g.append([sum(value * COSINES[u][x] for u, value in row) for x in range(8)])
    return [[limit(128 + sum(COSINES[v][y] * g[v][x] for v in range(8))) for x in range(8)]
            for y in range(8)]


def baseline(bits, block, part, scan):
    n = bits.symbol(scan.dc(part))
    part.pred += bits.signed(n)
    block[0] = part.pred
    k, table = 1, scan.ac(part)
    while k < 64:
        r, n = divmod(bits.symbol(table), 16)
        if n:
            k += r
            put(block, k, bits.signed(n), 63)
            k += 1
        elif r == 15:
            k += 16
        else:
            return


def put(block, k, value, last):
    if k > last:
        raise Wrong("a block with too many numbers")
    block[k] = value


def dc_first(bits, block, part, scan):
    part.pred += bits.signed(bits.symbol(scan.dc(part)))
    block[0] = part.pred * (1 << scan.al)


def dc_more(bits, block, _part, scan):
    block[0] += bits.bit() << scan.al


def ac_first(bits, block, part, scan):
    if scan.eobrun:
        scan.eobrun -= 1
        return
    k, table = scan.first, scan.ac(part)
    while k <= scan.last:
        r, n = divmod(bits.symbol(table), 16)
        if n:
            k += r
            put(block, k, bits.signed(n) * (1 << scan.al), scan.last)
            k += 1
        elif r == 15:
            k += 16
        else:
            scan.eobrun = (1 << r) - 1 + bits.receive(r)
            return


def ac_more(bits, block, part, scan):
    one, k = 1 << scan.al, scan.first

    def refine(k):
        if bits.bit():
            block[k] += one if block[k] > 0 else -one

    while not scan.eobrun:
        if k > scan.last:
            return
        r, n = divmod(bits.symbol(scan.ac(part)), 16)
        new = 0
        if n > 1:
            raise Wrong("more than one bit at once")
        if n == 1:
            new = one if bits.bit() else -one
        elif r < 15:
            scan.eobrun = (1 << r) + bits.receive(r)
            break
        while k <= scan.last:
            if block[k]:
                refine(k)
            elif r:
                r -= 1
            else:
                block[k] = new
                k += 1
                break
            k += 1
    for k in range(k, scan.last + 1):
        if block[k]:
            refine(k)
    scan.eobrun -= 1


class Scan:
    """What the segment DA says."""

    def __init__(self, frame, content, tables):
        count = content[0] if content else 0
        if not 1 <= count <= 4 or len(content) != 4 + 2 * count:
            raise Wrong("a scan of another length")
        self.tables, self.chosen, self.parts = tables, {}, []
        for i in range(count):
            id, chosen = content[1 + 2 * i:3 + 2 * i]
            found = [part for part in frame.parts if part.id == id]
            if not found or found[0] in self.parts:
                raise Wrong("a scan of an unknown component")
            self.parts.append(found[0])
            self.chosen[id] = (chosen >> 4, chosen & 15)
        self.first, self.last, a = content[-3:]
        self.ah, self.al = a >> 4, a & 15
        self.eobrun = 0
        if not frame.progressive:
            self.step = baseline
        elif self.last > 63 or self.last < self.first or (self.first == 0) != (self.last == 0):
            raise Wrong("a scan of numbers that do not go together")
        elif self.first and count > 1:
            raise Wrong("a scan of AC numbers with several components")
        elif self.first == 0:
            self.step = dc_more if self.ah else dc_first
        else:
            self.step = ac_more if self.ah else ac_first

    def table(self, kind, id):
        if (kind, id) not in self.tables:
            raise Wrong("a Huffman table is missing")
        return self.tables[kind, id]

    def dc(self, part):
        return self.table(0, self.chosen[part.id][0])

    def ac(self, part):
        return self.table(1, self.chosen[part.id][1])

    def units(self, frame):
        """For each unit its blocks, as (component, row, column)."""
        if len(self.parts) == 1:
            part = self.parts[0]
            for row in range(up(part.height, 8)):
                for column in range(up(part.width, 8)):
                    yield [(part, row, column)]
            return
        for row in range(up(frame.height, 8 * frame.vmax)):
            for column in range(up(frame.width, 8 * frame.hmax)):
                yield [(part, row * part.v + y, column * part.h + x) for part in self.parts
                       for y in range(part.v) for x in range(part.h)]

    def restart(self):
        self.eobrun = 0
        for part in self.parts:
            part.pred = 0

    def run(self, frame, bits, interval):
        self.restart()
        for i, unit in enumerate(self.units(frame)):
            if interval and i and i % interval == 0:
                if bits.marker() != 0xD0 + (i // interval - 1) % 8:
                    raise Wrong("a restart marker is missing")
                self.restart()
            for part, row, column in unit:
                self.step(bits, part.block(row, column), part, self)


def height_after_scan(data, place):
    """What a segment DC says, or 0."""
    found = data.find(b"\xff\xdc\0\4", place)
    return 0 if found < 0 else number(data[found + 4:found + 6])


class Frame:
    def __init__(self, content, progressive, later_height):
        if len(content) < 6 or len(content) != 6 + 3 * content[5]:
            raise Wrong("a frame of another length")
        if content[0] != 8:
            raise Wrong("only samples of 8 bits are read here")
        self.progressive = progressive
        self.height, self.width = number(content[1:3]) or later_height, number(content[3:5])
        if self.width == 0 or self.height == 0 or content[5] not in (1, 3, 4):
            raise Wrong("a picture without size, or of unknown colours")
        self.parts = [Component(content[6 + 3 * i:9 + 3 * i]) for i in range(content[5])]
        self.hmax = max(part.h for part in self.parts)
        self.vmax = max(part.v for part in self.parts)
        for part in self.parts:
            part.lay_out(self)


def quantisation(content, tables):
    while content:
        wide, id = content[0] >> 4, content[0] & 15
        size = 2 if wide else 1
        values = content[1:1 + 64 * size]
        if len(values) != 64 * size:
            raise Wrong("a quantisation table is cut off")
        tables[id] = [number(values[i * size:(i + 1) * size]) for i in range(64)]
        content = content[1 + 64 * size:]


def huffman(content, tables):
    while content:
        counts = content[1:17]
        if len(counts) != 16 or len(content) < 17 + sum(counts):
            raise Wrong("a Huffman table is cut off")
        table, code, place = {}, 0, 17
        for bits in range(1, 17):
            for _ in range(counts[bits - 1]):
                table[bits, code] = content[place]
                code, place = code + 1, place + 1
            if code > 1 << bits:
                raise Wrong("more codes than there can be")
            code *= 2
        tables[content[0] >> 4, content[0] & 15] = table
        content = content[place:]


class File:
    def __init__(self, data):
        self.bits = Bits(data, 0)
        self.quantisation, self.huffman, self.interval = {}, {}, 0
        self.frame, self.adobe, self.jfif, self.exif, self.scans = None, None, False, None, 0
        if self.bits.marker() != 0xD8:
            raise Wrong("not a JPEG")
        while self.segment(self.bits.marker()):
            pass
        if not self.scans:
            raise Wrong("there is no picture in it")

    def segment(self, marker):
        if marker == 0xD9:
            return False
        bits = self.bits
        length = number(bits.data[bits.place:bits.place + 2])
        content = bits.data[bits.place + 2:bits.place + length]
        if length < 2 or len(content) != length - 2:
            raise Wrong("a segment is cut off")
        bits.place += length
        if marker == 0xDB:
            quantisation(content, self.quantisation)
        elif marker == 0xC4:
            huffman(content, self.huffman)
        elif marker in (0xC0, 0xC1, 0xC2):
            self.frame = Frame(content, marker == 0xC2, height_after_scan(bits.data, bits.place))
        elif 0xC3 <= marker <= 0xCF:
            raise Wrong("a kind of JPEG that is not described")
        elif marker == 0xDD:
            self.interval = number(content)
        elif marker == 0xEE and content[:5] == b"Adobe" and len(content) >= 12:
            self.adobe = content[11]
        elif marker == 0xE0 and content[:5] == b"JFIF\0":
            self.jfif = True
        elif marker == 0xE1 and content[:6] == b"Exif\0\0":
            self.exif = content[6:]
        elif marker == 0xDA:
            if self.frame is None:
                raise Wrong("a scan without a frame")
            Scan(self.frame, content, self.huffman).run(self.frame, bits, self.interval)
            self.scans += 1
        return True

    def pixels(self):
        """Rows of (red, green, blue)."""
        frame = self.frame
        planes = [stretch(part, part.samples(self.quantisation), frame) for part in frame.parts]
        return [[self.colour([plane[y][x] for plane in planes]) for x in range(frame.width)]
                for y in range(frame.height)]

    def colour(self, values):
        """Section 11."""
        if len(values) == 1:
            value = limit(values[0])
            return value, value, value
        plain = self.adobe == 0 or self.adobe is None and not self.jfif and \
            [part.id for part in self.frame.parts] == [82, 71, 66]
        if len(values) == 4:
            plain = self.adobe != 2
        first = values[:3]
        if not plain:
            y, cb, cr = first
            first = (y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128),
                     y + 1.772 * (cb - 128))
        first = [limit(value) for value in first]
        if len(values) == 4:
            k = values[3]
            if self.adobe is None:
                first, k = [255 - value for value in first], 255 - k
            first = [limit(value * k / 255) for value in first]
        return tuple(first)


def mix(size, whole, fine, finest):
    """For each pixel of a row or column: the two samples beside it, and how much of the second."""
    out = []
    for x in range(whole):
        place = (x + 0.5) * fine / finest - 0.5
        i = math.floor(place)
        out.append((max(0, i), min(i + 1, size - 1), place - i))
    return out


def stretch(part, rows, frame):
    """Section 10: as many samples as there are pixels."""
    across = mix(part.width, frame.width, part.h, frame.hmax)
    down = mix(part.height, frame.height, part.v, frame.vmax)
    wide = [[row[i] * (1 - t) + row[j] * t for i, j, t in across] for row in rows]
    return [[a * (1 - t) + b * t for a, b in zip(wide[i], wide[j])] for i, j, t in down]


def exif(data):
    """The entries of the first table and of that of 8769: tag to value. Only what is printed."""
    order = {b"II": "little", b"MM": "big"}.get(data[:2])
    if order is None:
        raise Wrong("not Exif")

    def get(place, size):
        if place + size > len(data):
            raise Wrong("Exif is cut off")
        return int.from_bytes(data[place:place + size], order)

    found, tables = {}, [get(4, 4)]
    for table in tables:
        for i in range(get(table, 2)):
            at = table + 2 + 12 * i
            tag, kind, count = get(at, 2), get(at + 2, 2), get(at + 4, 4)
            if tag == 0x8769 and len(tables) == 1:
                tables.append(get(at + 8, 4))
            elif kind == 2:
                place = at + 8 if count <= 4 else get(at + 8, 4)
                found[tag] = data[place:place + count].rstrip(b"\0").decode("ascii", "replace")
            elif count == 1 and kind in (3, 4):
                found[tag] = get(at + 8, 2 if kind == 3 else 4)
    return found


def facts(data):
    """Orientation and date."""
    found = exif(File(data).exif or b"")
    return b"%d %s\n" % (found.get(0x0112, 1), found.get(0x9003, "-").encode())


def show(data):
    """The PPM."""
    picture = File(data)
    rows = picture.pixels()
    out = bytes(v for row in rows for pixel in row for v in pixel)
    head = "P6\n%d %d\n255\n" % (picture.frame.width, picture.frame.height)
    return head.encode() + out


def main():
    with open(sys.argv[-1], "rb") as file:
        data = file.read()
    sys.stdout.buffer.write(facts(data) if sys.argv[1] == "exif" else show(data))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[-1], why))
