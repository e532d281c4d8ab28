"""PEM and base64 as decode/pem.txt describes them, and nothing else: no library.

    pem.py FILE   prints the kind of a public key and its bytes in hexadecimal
"""

import sys

ROW = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
FRONTS = {
    "ed25519": (bytes.fromhex("302A300506032B6570032100"), 32),
    "ml-dsa-65": (bytes.fromhex("308207B2300B0609608648016503040312038207A100"), 1952),
}


class NotPem(ValueError):
    """The text is not what decode/pem.txt describes."""


def from_base64(text):
    """The bytes of a row of characters without line ends."""
    if len(text) % 4 != 0:
        raise NotPem("the number of characters is not a multiple of four")
    end = len(text) - len(text.rstrip(b"="))
    if end > 2:
        raise NotPem("there are too many = at the end")
    number = 0
    out = bytearray()
    for at, character in enumerate(text.rstrip(b"=")):
        place = ROW.find(bytes([character]))
        if place < 0:
            raise NotPem(f"character {character} is not of base64")
        number = number << 6 | place
        if at % 4 == 3:
            out += number.to_bytes(3, "big")
            number = 0
    if end == 1:  # three characters, 18 bits: two bytes and two bits
        if number & 3:
            raise NotPem("the bits that are left over are not zero")
        out += (number >> 2).to_bytes(2, "big")
    if end == 2:  # two characters, 12 bits: one byte and four bits
        if number & 15:
            raise NotPem("the bits that are left over are not zero")
        out += (number >> 4).to_bytes(1, "big")
    return bytes(out)


def body(text):
    """What stands between the two lines of a public key."""
    lines = text.replace(b"\r\n", b"\n").split(b"\n")
    begin, end = b"-----BEGIN PUBLIC KEY-----", b"-----END PUBLIC KEY-----"
    if begin not in lines or end not in lines[lines.index(begin) :]:
        raise NotPem("the first or the last line is missing")
    start = lines.index(begin) + 1
    return from_base64(b"".join(lines[start : lines.index(end, start)]))


def public_key(path, kind=None):
    """The kind and the raw bytes of the key in a file; of another kind than asked: refused."""
    with open(path, "rb") as file:
        der = body(file.read())
    for name, (front, length) in FRONTS.items():
        if der[: len(front)] == front and len(der) == len(front) + length:
            if kind not in (None, name):
                break
            return name, der[len(front) :]
    raise NotPem("it is not a key of that kind")


if __name__ == "__main__":
    try:
        print(*(x if isinstance(x, str) else x.hex() for x in public_key(sys.argv[1])))
    except NotPem as error:
        sys.exit(f"{sys.argv[1]}: {error}")
