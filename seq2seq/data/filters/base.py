"""What every filter is."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from seq2seq.data.corpus import Pair
from seq2seq.errors import ConfigError


class UnknownLanguageError(ConfigError):
    """A filter by script or language is not told the languages, or does not know them."""


@dataclass
class Filter(abc.ABC):
    """Decides on one pair at a time.

    Attributes:
        finding: what is wrong with a pair that the filter drops or changes, as reports and logs say it.
        package: distribution that decides in its place; empty: none.
    """

    finding: ClassVar[str]
    package: ClassVar[str] = ""

    @abc.abstractmethod
    def __call__(self, pair: Pair) -> Pair | None:
        """Return the pair, as it is or changed, or None to drop it."""

    def keeps_all(self, src: str, tgt: str) -> bool:
        """Return True if a quick look shows that the filter would keep every pair of a block as it is.

        Args:
            src: the sources of the block, without white space around them, joined by line feeds.
            tgt: the targets.
        """
        return False
