#!/usr/bin/env python3
"""Lists tracks and frames of a WebM or Matroska file. Written from decode/webm.txt alone.

A line for each track: "track NUMBER KIND CODING"; for each frame: "frame TRACK NANOSECONDS LENGTH"
and the frame's first bytes in hexadecimal. The frames are not decoded.
"""

import sys

from deflate import Wrong, zlib

SEGMENT, CLUSTER, UNKNOWN = 0x18538067, 0x1F43B675, None
# The children of a segment: an element of unknown length ends before them.
TOP = {0x114D9B74, 0x1549A966, 0x1654AE6B, CLUSTER, 0x1C53BB6B, 0x1254C367, 0x1941A469, 0x1043A770}


class Bytes:
    def __init__(self, data, place=0, end=None):
        self.data, self.place = data, place
        self.end = len(data) if end is None else end

    def more(self):
        return self.place < self.end

    def take(self, n):
        if self.place + n > self.end:
            raise Wrong("the file ends too early")
        self.place += n
        return self.data[self.place - n:self.place]

    def variable(self, longest):
        """A number of so many bytes as its first byte tells, and how many these are."""
        first = self.take(1)
        count = 9 - first[0].bit_length()
        if count > longest:
            raise Wrong("a number that is too long")
        return int.from_bytes(first + self.take(count - 1), "big"), count

    def coded(self):
        """The same without the leading bit; and how many bytes it had."""
        value, count = self.variable(8)
        return value - (1 << 7 * count), count

    def element(self):
        """Number and content of the next element. A content of unknown length has no end yet."""
        number, _ = self.variable(4)
        length, count = self.coded()
        if length == (1 << 7 * count) - 1:
            if number not in (SEGMENT, CLUSTER):
                raise Wrong("an element of unknown length")
            content = Bytes(self.data, self.place, self.end)
            if number == CLUSTER:
                content.end = end_of_cluster(content)
            self.place = content.end
            return number, content
        start = self.place
        self.take(length)
        return number, Bytes(self.data, start, self.place)

    def elements(self):
        while self.more():
            yield self.element()

    def uint(self):
        return int.from_bytes(self.take(self.end - self.place), "big")

    def rest(self):
        return self.take(self.end - self.place)


def end_of_cluster(content):
    look = Bytes(content.data, content.place, content.end)
    while look.more():
        before = look.place
        if look.variable(4)[0] in TOP:
            return before
        look.place = before
        look.element()
    return content.end


def laced(flags, content):
    """The frames of a block."""
    kind = flags & 6
    if kind == 0:
        return [content.rest()]
    n = content.take(1)[0]
    lengths = []
    if kind == 2:
        for _ in range(n):
            length, byte = 0, 255
            while byte == 255:
                byte = content.take(1)[0]
                length += byte
            lengths.append(length)
    elif kind == 6:
        for i in range(n):
            value, b = content.coded()
            lengths.append(value if i == 0 else lengths[-1] + value - ((1 << 7 * b - 1) - 1))
    else:
        length, left = divmod(content.end - content.place, n + 1)
        if left:
            raise Wrong("frames that are not equally long")
        lengths = [length] * n
    if any(length < 0 for length in lengths):
        raise Wrong("a frame of less than no bytes")
    return [content.take(length) for length in lengths] + [content.rest()]


class File:
    def __init__(self, data):
        self.ticks, self.tracks, self.lines = 1000000, {}, []
        file = Bytes(data)
        if data[:4] != b"\x1a\x45\xdf\xa3":
            raise Wrong("not a Matroska file")
        for number, content in file.elements():
            if number == SEGMENT:
                self.segment(content)

    def segment(self, segment):
        for number, content in segment.elements():
            if number == 0x1549A966:
                for inner, value in content.elements():
                    if inner == 0x2AD7B1:
                        self.ticks = value.uint()
            elif number == 0x1654AE6B:
                for inner, track in content.elements():
                    if inner == 0xAE:
                        self.track(track)
            elif number == CLUSTER:
                self.cluster(content)

    def track(self, content):
        track = {"how": None, "each": 0}
        for number, value in content.elements():
            if number == 0xD7:
                track["number"] = value.uint()
            elif number == 0x83:
                track["kind"] = value.uint()
            elif number == 0x86:
                track["coding"] = value.rest().rstrip(b"\0").decode("ascii", "replace")
            elif number == 0x23E383:
                track["each"] = value.uint()
            elif number == 0x6D80:
                self.changes(track, value)
        if not {"number", "kind", "coding"} <= set(track):
            raise Wrong("a track that does not say what it is")
        self.tracks[track["number"]] = track
        self.lines.append("track %d %d %s" % (track["number"], track["kind"], track["coding"]))

    def changes(self, track, content):
        for number, change in content.elements():
            for number, kind in change.elements() if number == 0x6240 else ():
                if number == 0x5035:
                    raise Wrong("it is encrypted")
                if number == 0x5034:
                    how, front = 0, b""
                    for number, value in kind.elements():
                        if number == 0x4254:
                            how = value.uint()
                        elif number == 0x4255:
                            front = value.rest()
                    if how not in (0, 3):
                        raise Wrong("a change that is not described")
                    track["how"] = zlib if how == 0 else lambda frame: front + frame

    def cluster(self, content):
        time = 0
        for number, value in content.elements():
            if number == 0xE7:
                time = value.uint()
            elif number == 0xA3:
                self.block(time, value)
            elif number == 0xA0:
                for inner, block in value.elements():
                    if inner == 0xA1:
                        self.block(time, block)

    def block(self, time, content):
        track, _ = content.coded()
        own = int.from_bytes(content.take(2), "big", signed=True)
        flags = content.take(1)[0]
        if track not in self.tracks:
            raise Wrong("a block of an unknown track")
        track = self.tracks[track]
        for i, frame in enumerate(laced(flags, content)):
            if track["how"]:
                frame = track["how"](frame)
            at = (time + own) * self.ticks + i * track["each"]
            self.lines.append("frame %d %d %d %s" % (track["number"], at, len(frame), frame[:8].hex()))


def show(data):
    """The lines."""
    return "".join(line + "\n" for line in File(data).lines).encode()


def main():
    with open(sys.argv[1], "rb") as file:
        sys.stdout.buffer.write(show(file.read()))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[1], why))
