"""BLAKE3 as decode/blake3.txt describes it, and nothing else: no library.

    blake3.py FILE...     prints the number of each file, two spaces, its path
    blake3.py -c LIST...  checks the files named in such a list
"""

import os
import sys

import sha256

START = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]  # fmt: skip
ORDER = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8]
FIRST_BLOCK, LAST_BLOCK, PARENT, ROOT = 1, 2, 4, 8
BLOCK, CHUNK = 64, 1024
MASK = 0xFFFFFFFF


def mix(v, a, b, c, d, x, y):
    """The step G on four of the sixteen words."""
    v[a] = (v[a] + v[b] + x) & MASK
    t = v[d] ^ v[a]
    v[d] = (t >> 16 | t << 16) & MASK
    v[c] = (v[c] + v[d]) & MASK
    t = v[b] ^ v[c]
    v[b] = (t >> 12 | t << 20) & MASK
    v[a] = (v[a] + v[b] + y) & MASK
    t = v[d] ^ v[a]
    v[d] = (t >> 8 | t << 24) & MASK
    v[c] = (v[c] + v[d]) & MASK
    t = v[b] ^ v[c]
    v[b] = (t >> 7 | t << 25) & MASK


def compress(chain, block, count, flags):
    """Eight words from eight words and a block of up to 64 bytes."""
    padded = block + bytes(BLOCK - len(block))
    m = [int.from_bytes(padded[i : i + 4], "little") for i in range(0, BLOCK, 4)]
    v = chain + START[:4] + [count & MASK, count >> 32, len(block), flags]
    for turn in range(7):
        if turn > 0:
            m = [m[i] for i in ORDER]
        mix(v, 0, 4, 8, 12, m[0], m[1])
        mix(v, 1, 5, 9, 13, m[2], m[3])
        mix(v, 2, 6, 10, 14, m[4], m[5])
        mix(v, 3, 7, 11, 15, m[6], m[7])
        mix(v, 0, 5, 10, 15, m[8], m[9])
        mix(v, 1, 6, 11, 12, m[10], m[11])
        mix(v, 2, 7, 8, 13, m[12], m[13])
        mix(v, 3, 4, 9, 14, m[14], m[15])
    return [v[i] ^ v[i + 8] for i in range(8)]


def words_to_bytes(words):
    return b"".join(w.to_bytes(4, "little") for w in words)


def of_chunk(bytes_, number, root):
    """The value of chunk `number`, of up to 1024 bytes."""
    blocks = [bytes_[i : i + BLOCK] for i in range(0, len(bytes_), BLOCK)] or [b""]
    value = START
    for i, block in enumerate(blocks):
        flags = FIRST_BLOCK if i == 0 else 0
        if i == len(blocks) - 1:
            flags |= LAST_BLOCK | root
        value = compress(value, block, number, flags)
    return value


def of_tree(file, length, first, root):
    """The value of the next `length` bytes of a file, whose first chunk is `first`."""
    if length <= CHUNK:
        bytes_ = file.read(length)
        if len(bytes_) < length:
            raise OSError(0, "the file became shorter")
        return of_chunk(bytes_, first, root)
    left = 1  # chunks: the largest power of two that leaves something for the right
    while 2 * left * CHUNK < length:
        left *= 2
    values = of_tree(file, left * CHUNK, first, 0)
    values = values + of_tree(file, length - left * CHUNK, first + left, 0)
    return compress(START, words_to_bytes(values), 0, PARENT | root)


def digest(file):
    """The number of an open file, as bytes."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    return words_to_bytes(of_tree(file, length, 0, ROOT))


if __name__ == "__main__":
    sys.exit(sha256.main(sys.argv[1:], digest))
