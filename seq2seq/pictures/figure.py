"""What all pictures share: the style, a canvas that holds every label, and a file without dates."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2seq.errors import ConfigError
from seq2seq.filesystem.atomic_files import write_atomically
from seq2seq.pictures.fonts import choose_fonts, describe_missing, isolated, needs_shaping

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

FORMATS = (".svg", ".png", ".pdf")
# Without dates, so that the same picture gives the same file.
UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {}}
DPI = 150
MARGIN_INCHES = 0.1

log = logging.getLogger(__name__)


def check_ending(path: str, option: str = "--output") -> str:
    """Return the ending of an image file, which is its format.

    Raises:
        ConfigError: the format is unknown.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in FORMATS:
        raise ConfigError(f"{option} {path}: the name must end in {', '.join(FORMATS)}")
    return ending


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Use the same settings of Matplotlib on every machine inside the block; a matplotlibrc is ignored.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else "matplotlib"
        raise ConfigError(f"drawing needs {name}: pip install 'attentional-lstm[plots]'") from error
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams["font.sans-serif"] = ["DejaVu Sans"]  # is in the package
        matplotlib.rcParams["svg.fonttype"] = "none"  # keep text as text: smaller and searchable
        matplotlib.rcParams["svg.hashsalt"] = "seq2seq"  # ids in the SVG are hashes with this salt instead of random
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # `save` reports them
        yield


def new_figure(width: float = 1, height: float = 1, **options: Any) -> Figure:
    """Return a figure, in inches. It belongs to no window: pyplot does not know it."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), **options)


def set_fonts(figure: Figure) -> set[str]:
    """Let every text fall back to installed fonts that have its characters; return characters that no font has."""
    texts = _texts(figure)
    families, missing = choose_fonts({character for text in texts for character in text.get_text()})
    for text in texts:
        text.set_fontfamily(families)
    return missing


def fit(figure: Figure, axes: Axes, width: float, height: float) -> None:
    """Give `axes` this size in inches, and the figure the size that holds them with all of their labels."""
    missing = set_fonts(figure)
    figure.set_size_inches(width, height)
    axes.set_position((0, 0, 1, 1))
    box = figure.get_tightbbox()
    # The sign for a missing character is narrower than most characters.
    spare = max(
        0.6 * sum(c in missing for c in text.get_text()) * float(text.get_fontsize()) / 72 for text in _texts(figure)
    )
    left, bottom = MARGIN_INCHES + spare - box.x0, MARGIN_INCHES - box.y0
    full = left + box.x1 + MARGIN_INCHES, bottom + box.y1 + MARGIN_INCHES + spare
    figure.set_size_inches(*full)
    axes.set_position((left / full[0], bottom / full[1], width / full[0], height / full[1]))


def save(figure: Figure, path: str | Path, **options: Any) -> None:
    """Write a figure in the format that the ending of `path` names; the same figure gives the same bytes.

    In an SVG, text stays text: the program that shows it chooses the fonts.

    Args:
        figure: of a function of this package.
        path: of the image: .svg, .png or .pdf.
        **options: of `Figure.savefig`.

    Raises:
        ConfigError: another ending; or no installed font has a character, unless the file is an SVG.
        StorageError: the file cannot be written.
    """
    ending = check_ending(str(path), "the image")
    with style():
        _check_text(figure, ending, str(path))
        file = io.BytesIO()
        figure.savefig(file, format=ending[1:], metadata=UNDATED[ending], dpi=DPI, **options)
    image = _isolate(file.getvalue()) if ending == ".svg" else file.getvalue()
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(image))


def _check_text(figure: Figure, ending: str, path: str) -> None:
    if missing := set_fonts(figure):
        problem = describe_missing(missing)
        if ending != ".svg":
            raise ConfigError(f"cannot draw {path}: {problem}")
        log.warning("%s: %s, or show it where one is installed", path, problem)
    shaped = next((text.get_text() for text in _texts(figure) if needs_shaping(text.get_text())), None)
    if ending != ".svg" and shaped is not None:
        raise ConfigError(
            f"cannot draw {path}: {shaped} is of a script whose letters Matplotlib orders and joins from version 3.11 "
            "(Python 3.11): install it, or write an .svg"
        )


def _texts(figure: Figure) -> Sequence[Text]:
    from matplotlib.text import Text

    found: Sequence[Text] = figure.findobj(Text)
    return found


def _isolate(svg: bytes) -> bytes:
    """Put right-to-left texts between marks: without them the full stop of one is shown before its first word."""
    return re.sub(r">([^<>]+)</text>", lambda match: f">{isolated(match[1])}</text>", svg.decode("utf-8")).encode(
        "utf-8"
    )
