"""UTF-8 as decode/text.txt describes it, and nothing else: no library.

    text.py FILE

Prints the numbers of the characters in hexadecimal. Ends with 1 if there was an error in the
text, for which FFFD stands.
"""

import sys

# The first byte from, to; what the second byte may be; how many follow; bits of the first byte.
FORMS = [
    (0x00, 0x7F, None, 0, 7),
    (0xC2, 0xDF, (0x80, 0xBF), 1, 5),
    (0xE0, 0xE0, (0xA0, 0xBF), 2, 4),
    (0xE1, 0xEC, (0x80, 0xBF), 2, 4),
    (0xED, 0xED, (0x80, 0x9F), 2, 4),
    (0xEE, 0xEF, (0x80, 0xBF), 2, 4),
    (0xF0, 0xF0, (0x90, 0xBF), 3, 3),
    (0xF1, 0xF3, (0x80, 0xBF), 3, 3),
    (0xF4, 0xF4, (0x80, 0x8F), 3, 3),
]


def character(bytes_, at):
    """The number of the character at a place (None: an error), and where the next one begins."""
    for low, high, second, follow, bits in FORMS:
        if low <= bytes_[at] <= high:
            break
    else:
        return None, at + 1
    number = bytes_[at] & ((1 << bits) - 1)
    allowed = second
    for _ in range(follow):
        at += 1
        if at == len(bytes_) or not allowed[0] <= bytes_[at] <= allowed[1]:
            return None, at
        number = number * 64 + (bytes_[at] & 63)
        allowed = (0x80, 0xBF)
    return number, at + 1


def main(path):
    with open(path, "rb") as file:
        bytes_ = file.read()
    at, numbers = 0, []
    while at < len(bytes_):
        number, at = character(bytes_, at)
        numbers.append(number)
    print(*(f"{0xFFFD if n is None else n:X}" for n in numbers))
    return 1 if None in numbers else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
