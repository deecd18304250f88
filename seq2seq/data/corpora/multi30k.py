"""Multi30k task 1: image captions in English, German, French and Czech.

Elliott et al. 2016 and 2017, Barrault et al. 2018. The raw sentences are downloaded from one commit of
the dataset's repository; each file is pinned by its SHA-256.
"""

from __future__ import annotations

from pathlib import Path

from seq2seq.config.data import DataConfig
from seq2seq.data.corpus import Corpus, ParallelText
from seq2seq.data.files.archives import root_folder
from seq2seq.data.files.download import cache_dir, fetch_files
from seq2seq.data.files.file_digest import sha256
from seq2seq.data.files.reading import read_pair
from seq2seq.data.text.cleaning import clean
from seq2seq.errors import ConfigError, DataError

COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
BASE_URL = f"https://raw.githubusercontent.com/multi30k/dataset/{COMMIT}/data/task1/raw/"
LANGUAGES = ("en", "de", "fr", "cs")
TESTS = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
ALTERNATIVES = (
    "alternatives: data.root=DIR with these files, data=grammar (synthetic, no download), data=files with your own text"
)
SHA256 = {
    "test_2016_flickr.cs.gz": "200a4a74cc9560f051924abb9803be008d1908d77f747e9141aeb86dfd2797f1",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
    "test_2017_flickr.de.gz": "a2c89666db00c495cd8513b9d708d5a3acc205d7de312ef2bf5fb7ebc1540aee",
    "test_2017_flickr.en.gz": "76a444ee25172e72695cddb13ae4a3bda59430617be88e0bb46b60504f054074",
    "test_2017_flickr.fr.gz": "3ba671ceb2299f3304ffafefea7a833d08632fbaf0ba18546f8a2ec2391af496",
    "test_2017_mscoco.de.gz": "799e4854c25d601cb6cb6be29eabe5667734c61ace2f495e03e429031a0bc338",
    "test_2017_mscoco.en.gz": "aab300bfb4427697987e02cd0aacd44bfe8aa50456231b6474c08038bbed2b58",
    "test_2017_mscoco.fr.gz": "754f3072ba9f124569ba5258b32730fc1d214bbf8e0c6dfb2b74401676220db0",
    "train.cs.gz": "a65adb8b32e3bc664f21ecba7a6e7f6950fd1f405e135f7c312faabdb6255077",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.cs.gz": "b63226e05c4bd5dd6a42897d74b86a1b9d2c31498252c572b1ea7f7996927fcc",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
}


def load(config: DataConfig) -> Corpus:
    """See `load.Source`."""
    return Corpus(clean(read(config, "train"), config), read(config, "val"), load_tests(config))


def load_tests(config: DataConfig) -> dict[str, ParallelText]:
    """Read every test set published for both languages; those of 2017 may be absent from `data.root`."""
    tests = {}
    for part in TESTS:
        names = _file_names(config, part)
        published = all(name in SHA256 for name in names)
        absent = config.root and not all((root_folder(config.root) / name).exists() for name in names)
        if part == TESTS[0] or (published and not absent):
            tests[part] = read(config, part)
    return tests


def read(config: DataConfig, part: str) -> ParallelText:
    """Read one part ("train", "val" or a test set) in the configured direction; raises as `load.Source.load`."""
    for key, language in (("data.src", config.src), ("data.tgt", config.tgt)):
        if language not in LANGUAGES:
            raise ConfigError(f"{key}={language}: data=multi30k has {', '.join(LANGUAGES)}")
    names = _file_names(config, part)
    if config.root:
        folder = root_folder(config.root)
        for name in names:
            _check(folder / name)
    else:
        folder = cache_dir(config.cache_dir) / "multi30k"
        fetch_files(BASE_URL, {name: SHA256[name] for name in names}, folder, alternatives=ALTERNATIVES)
    return read_pair(*(folder / name for name in names))


def _file_names(config: DataConfig, part: str) -> tuple[str, str]:
    return f"{part}.{config.src}.gz", f"{part}.{config.tgt}.gz"


def _check(path: Path) -> None:
    try:
        if not path.is_file():
            raise DataError(f"data.root={path.parent}: {path.name} is missing")
        actual = sha256(path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    if actual != SHA256[path.name]:
        raise DataError(f"{path} is not the published file: its SHA-256 is {actual}, expected {SHA256[path.name]}")
