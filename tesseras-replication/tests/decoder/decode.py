#!/usr/bin/env python3
"""Rebuilds the pack of a tessera, a plain tar, from any k of its coded fragments.

    python3 decode.py PLAN OUT.tar FRAGMENT...

PLAN is the text of the plan. Each FRAGMENT is a file named by its index: "7" or "7.anything".
Nothing but Python 3 is needed. docs/FORMAT.md describes the code that is undone here; this file
was written from that description and shares nothing with the software that makes the fragments.

Afterwards, unpack the tar and run `sha256sum -c SHA256SUMS` in it: that proves every byte.

The idea in one paragraph: take the same two-byte symbol of every fragment. Each parity symbol is a
sum of the k data symbols, with weights that are the same throughout the pack. So what is missing
follows from a small system of linear equations over a field of 65536 elements, solved once.
"""

import os
import sys

# Field element number 2^t is this polynomial over the two-element field, bit i standing for x^i.
# The other elements are sums (exclusive or) of these: element 5 is BASIS[2] ^ BASIS[0].
BASIS = (0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012,
         0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E)
MODULUS = 0x1002D  # x^16 + x^5 + x^3 + x^2 + 1, by which products of polynomials are reduced
WINDOW = 1 << 20  # bytes of each fragment worked on at a time; a multiple of 64


def tables():
    """The powers of the polynomial x as element numbers, and from element numbers to exponents."""
    polynomial = [0]
    for basis in BASIS:
        polynomial += [p ^ basis for p in polynomial]
    number = [0] * 65536
    for element, p in enumerate(polynomial):
        number[p] = element
    power, exponent, p = [0] * 65535, [0] * 65536, 1
    for i in range(65535):
        power[i] = number[p]
        exponent[number[p]] = i
        p <<= 1
        if p > 0xFFFF:
            p ^= MODULUS
    return power, exponent


POWER, EXPONENT = tables()


def multiply(a, b):
    return POWER[(EXPONENT[a] + EXPONENT[b]) % 65535] if a and b else 0


def divide(a, b):
    return POWER[(EXPONENT[a] - EXPONENT[b]) % 65535] if a else 0


def weight(k, m, parity, data):
    """The weight of data symbol `data` in parity symbol `parity`, both counted from 0."""
    r = 1
    while r < m:
        r *= 2  # the smallest power of two that is not below m: 8 for 16+8, 32 for 48+24
    return divide(1 + data // r, parity ^ (r + data))


def solve(k, m, have):
    """For the fragments `have`: which k of them to use, and per missing data fragment its weights.

    Each missing data fragment is the sum of the used fragments times its weights.
    """
    known = [i for i in range(k) if i in have]
    missing = [i for i in range(k) if i not in have]
    parity = sorted(i for i in have if i >= k)[:len(missing)]
    if len(parity) < len(missing):
        sys.exit(f"{len(known) + len(parity)} different fragments are too few: {k} are needed")
    # One equation a parity fragment: its sum over the missing ones = itself + that over the known.
    rows = [[weight(k, m, p - k, i) for i in missing + known] + [int(p == q) for q in parity]
            for p in parity]
    n = len(missing)
    for column in range(n):  # Gauss and Jordan: turn the first n columns into the identity
        pivot = next(r for r in range(column, n) if rows[r][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        head = rows[column][column]
        rows[column] = [divide(w, head) for w in rows[column]]
        for r in range(n):
            factor = rows[r][column]
            if r != column and factor:
                rows[r] = [a ^ multiply(factor, b) for a, b in zip(rows[r], rows[column])]
    return known + parity, {i: row[n:] for i, row in zip(missing, rows)}


def products(w):
    """Four tables of 256 bytes: w times a low byte, low and high half; w times a high byte."""
    low = [multiply(w, v) for v in range(256)]
    high = [multiply(w, v << 8) for v in range(256)]
    return tuple(bytes(p >> shift & 255 for p in row) for row in (low, high) for shift in (0, 8))


def halves(window):
    """The low and the high bytes of a window's symbols: 32 low, then 32 high, again and again."""
    return (b"".join(window[i:i + 32] for i in range(0, len(window), 64)),
            b"".join(window[i + 32:i + 64] for i in range(0, len(window), 64)))


def rebuild(inputs, weights):
    """The sum of the inputs times their weights, for one window. Exclusive or on long integers."""
    sum_low = sum_high = 0
    for (low, high), (low_low, low_high, high_low, high_high) in zip(inputs, weights):
        sum_low ^= int.from_bytes(low.translate(low_low), "big")
        sum_low ^= int.from_bytes(high.translate(high_low), "big")
        sum_high ^= int.from_bytes(low.translate(low_high), "big")
        sum_high ^= int.from_bytes(high.translate(high_high), "big")
    size = len(inputs[0][0])
    low, high = sum_low.to_bytes(size, "big"), sum_high.to_bytes(size, "big")
    return b"".join(half[i:i + 32] for i in range(0, size, 32) for half in (low, high))


def main(plan_path, out_path, *fragment_paths):
    with open(plan_path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    plan = dict(line.split(": ", 1) for line in lines if ": " in line)
    if lines[0] != "tesseras-plan 1" or plan["pack"] != "1" or "code" not in plan:
        sys.exit("This is no plan of version 1 with a code: a small pack is only ever kept whole.")
    if plan["code"] not in ("16+8", "48+24"):
        sys.exit("version 1 knows the codes 16+8 and 48+24 only")
    k, m = map(int, plan["code"].split("+"))
    pack_bytes, length = int(plan["bytes"]), int(plan["length"])
    have = {int(os.path.basename(path).split(".")[0]): path for path in fragment_paths}
    for index, path in have.items():
        if index >= k + m or os.path.getsize(path) != length:
            sys.exit(f"{path}: not a fragment of this plan, or not all of it")
    used, rows = solve(k, m, have)
    rows = {index: [products(w) for w in row] for index, row in rows.items()}
    files = [open(have[index], "rb") for index in used]
    with open(out_path, "wb") as out:
        for offset in range(0, length, WINDOW):
            windows = [file.read(min(WINDOW, length - offset)) for file in files]
            found = {index: window for index, window in zip(used, windows) if index < k}
            split = [halves(window) for window in windows] if rows else []
            found.update((index, rebuild(split, row)) for index, row in rows.items())
            for index, window in found.items():  # data fragment i is the pack's bytes from i * L
                start = index * length + offset
                out.seek(min(start, pack_bytes))
                out.write(window[:max(0, pack_bytes - start)])


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
