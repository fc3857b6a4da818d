"""The PASCAL VOC colour map, which is the default palette for any set of classes."""


def voc_palette(count: int) -> tuple[tuple[int, int, int], ...]:
    """Return the first `count` colours of PASCAL VOC's colour map, each (red, green, blue) in 0..255.

    As in the VOC development kit, the bits of the class index, three at a time, fill the channels from the highest bits down.
    Class 0 is black; the colours repeat after 256.
    """

    def channel(index: int, offset: int) -> int:
        return sum((index >> (3 * bit + offset) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(i, 0), channel(i, 1), channel(i, 2)) for i in (n % 256 for n in range(count)))
