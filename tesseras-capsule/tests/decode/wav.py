#!/usr/bin/env python3
"""Prints the samples of a WAV file. Written from decode/wav.txt alone.

First line: samples per second, channels, number of frames. Then one line for each frame.
"""

import sys


class Wrong(Exception):
    """The file does not follow the description."""


def number(data):
    return int.from_bytes(data, "little")


def chunks(data):
    """Kind and content of each chunk."""
    if data[:4] not in (b"RIFF", b"RF64", b"BW64") or data[8:12] != b"WAVE":
        raise Wrong("not a WAV")
    place, longer = 12, {}
    while place + 8 <= len(data):
        kind, length = data[place:place + 4], number(data[place + 4:place + 8])
        if length == 0xFFFFFFFF and kind in longer:
            length = longer[kind]
        if kind == b"data" and length in (0, 0xFFFFFFFF):
            length = len(data) - place - 8
        content = data[place + 8:place + 8 + length]
        if len(content) != length:
            raise Wrong("the file ends too early")
        if kind == b"ds64":
            longer[b"data"] = number(content[8:16])
            for at in range(28, 28 + 12 * number(content[24:28]), 12):
                longer[content[at:at + 4]] = number(content[at + 4:at + 12])
        yield kind, content
        place += 8 + length + length % 2


def real(value, exponent_bits, fraction_bits):
    """A floating-point number by its bits."""
    f = value & (1 << fraction_bits) - 1
    e = value >> fraction_bits & (1 << exponent_bits) - 1
    middle = (1 << exponent_bits - 1) - 1
    if e == 2 * middle + 1:
        raise Wrong("not a number")
    if e:
        size = (1 + f / (1 << fraction_bits)) * 2.0 ** (e - middle)
    else:
        size = f / (1 << fraction_bits) * 2.0 ** (1 - middle)
    return -size if value >> fraction_bits + exponent_bits else size


def mu_law(x):
    u = 255 - x
    e, m = u // 16 % 8, u % 16
    t = (8 * m + 132) * 2**e - 132
    return t if u < 128 else -t


def a_law(x):
    a = x ^ 85
    e, m = a // 16 % 8, a % 16
    t = 16 * m + 8 if e == 0 else (16 * m + 264) * 2 ** (e - 1)
    return t if a >= 128 else -t


def sample(data, form, size):
    value = number(data)
    if form == 1:
        if size == 1:
            return value - 128
        return value - (1 << 8 * size) if value >> 8 * size - 1 else value
    if form == 3:
        return real(value, 8, 23) if size == 4 else real(value, 11, 52)
    return a_law(value) if form == 6 else mu_law(value)


def read(data):
    form, sound = None, None
    for kind, content in chunks(data):
        if kind == b"fmt " and len(content) >= 16:
            form, channels, rate = number(content[:2]), number(content[2:4]), number(content[4:8])
            frame, bits = number(content[12:14]), number(content[14:16])
            if form == 0xFFFE:
                form = number(content[24:26])
        if kind == b"data":
            sound = content
    if form is None or sound is None:
        raise Wrong("the file ends too early: there is no sound in it")
    if form not in (1, 3, 6, 7):
        raise Wrong("form %d is not described" % form)
    size = (bits + 7) // 8
    sizes = {1: (1, 2, 3, 4), 3: (4, 8)}.get(form, (1,))
    if size not in sizes or not channels or frame != size * channels or len(sound) % frame:
        raise Wrong("lengths that do not go together")
    samples = [sample(sound[i:i + size], form, size) for i in range(0, len(sound), size)]
    return rate, channels, [samples[i:i + channels] for i in range(0, len(samples), channels)]


def show(data):
    """The lines."""
    rate, channels, frames = read(data)
    rows = [(rate, channels, len(frames)), *frames]
    return "".join(" ".join(map(str, row)) + "\n" for row in rows).encode()


def main():
    with open(sys.argv[1], "rb") as file:
        sys.stdout.buffer.write(show(file.read()))


if __name__ == "__main__":
    try:
        main()
    except Wrong as why:
        sys.exit("%s: %s" % (sys.argv[1], why))
