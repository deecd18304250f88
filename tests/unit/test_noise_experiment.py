"""The noise of scripts/noise_experiment.py is what it says, and the filters find the kinds that they are made for."""

import random
from collections import Counter

from noise_experiment import CLEAN, KINDS, count_caught, with_noise

from seq2seq.data.filters.presets import STRICT

SOURCE = "The {} men are reading {} newspapers near the station.".format
TARGET = "Die {} Männer lesen {} Zeitungen in der Nähe des Bahnhofs.".format
FRENCH = ["Deux hommes lisent un journal dans le jardin.", "La femme mange une pomme dans la cuisine."]


def test_noise_is_added_by_kind_and_found() -> None:
    pairs = [(SOURCE(a, b), TARGET(a, b)) for a in range(10, 30) for b in range(10, 25)]
    noisy = with_noise(pairs, FRENCH, 100, 0.1, random.Random(1))
    sizes = Counter(kind for kind, _ in noisy)
    assert sizes == {CLEAN: 100, **dict.fromkeys(KINDS, 10)}
    originals = [pair for kind, pair in noisy if kind == CLEAN]
    assert all(pair in pairs for pair in originals)
    assert all(pair in originals for kind, pair in noisy if kind == "duplicate")
    assert all(pair not in pairs for kind, pair in noisy if kind not in (CLEAN, "duplicate"))
    caught = count_caught(noisy, STRICT, ("en", "de"))
    assert caught[CLEAN] == 0
    for kind in ("copied", "other language", "truncated", "mojibake", "duplicate"):
        assert caught[kind] == 10, kind
