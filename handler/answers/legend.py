"""Legends: colours with names on a dark panel in the upper left corner of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from handler.answers.fonts import load_font

_PANEL = (0, 0, 0, 150)


@dataclass(frozen=True)
class Legend:
    """Dimensions of a legend, in pixels."""

    #: Height of the letters.
    text_size: int

    @classmethod
    def for_picture(cls, picture: Image.Image) -> "Legend":
        """Choose a text size that suits `picture`."""
        return cls(max(11, min(picture.size) // 28))

    @property
    def margin(self) -> int:
        return self.text_size // 2

    @property
    def row(self) -> int:
        """Height of one entry."""
        return round(self.text_size * 1.5)

    def draw(self, picture: Image.Image, entries: Sequence[tuple[Image.Image, str]], *, names_left: int, height: int) -> None:
        """Draw `entries`, pairs of a colour sample and a name, one below the other; draw nothing if they do not fit.

        Args:
            picture: the picture to draw on.
            entries: samples and names.
            names_left: x at which the names start.
            height: height of the panel; its width follows the longest name.
        """
        font = load_font(self.text_size)
        width = names_left + round(max(font.getlength(name) for _, name in entries)) + self.margin
        if width > picture.width or height > picture.height:
            return
        draw = ImageDraw.Draw(picture, "RGBA")
        draw.rectangle((0, 0, width, height), fill=_PANEL)
        for position, (sample, name) in enumerate(entries):
            top = self.margin + position * self.row
            picture.paste(sample, (self.margin, top))
            draw.text((names_left, top + self.text_size / 2), name, fill="white", font=font, anchor="lm")
