"""Schema of the data settings: corpora and their mix, held-out sets, filters."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any

from omegaconf import MISSING

from seq2seq.config.augment import AugmentConfig
from seq2seq.config.bleu import BLEU_TOKENIZERS
from seq2seq.config.field import MAX_COUNT, Choice, Effect, field
from seq2seq.config.text_files import ColumnsConfig, FilesConfig, SplitsConfig
from seq2seq.config.tokenizer import SamplingConfig, TokenizerConfig
from seq2seq.errors import ConfigError

MAIN = "main"
"""Name of the main corpus among those of a mix."""


class DataName(Choice):
    """Source of the sentence pairs."""

    tatoeba = "tatoeba"
    grammar = "grammar"
    multi30k = "multi30k"
    files = "files"
    mtdata = "mtdata"
    wmt = "wmt"
    opus = "opus"
    huggingface = "huggingface"


class Clean(Choice):
    """Filters of the training text: `PRESETS` in data/filters/presets.py."""

    none = "none"
    harmless = "harmless"
    light = "light"
    strict = "strict"


WEIGHT = (
    "share of this corpus in an epoch, relative to the weights of the others; null: 1 if another corpus has a weight, "
    "else by its number of pairs"
)
TAG = (
    "one or more symbols, separated by spaces, that are put before every source sentence of this corpus, for example "
    "<BT>; each is a token of its own; in translation, the first corpus of a target language gives its tag"
)


class RobustnessName(Choice):
    """A variant of a test set, as careless users would write it."""

    upper = "upper"
    title = "title"
    nopunct = "nopunct"
    typos = "typos"


@dataclass
class MixConfig:
    """A further corpus that the main one is mixed with; what it does not name is that of the main corpus."""

    name: DataName = field(DataName.files, "corpus, as data.name")
    src: str | None = field(None, "source language code; null: data.src")
    tgt: str | None = field(None, "target language code; null: data.tgt")
    root: str | None = field(None, "folder of the corpus files; null: data.root if it is the same corpus", unit="path")
    train: FilesConfig = field(FilesConfig, "training text (name=files)")
    valid: FilesConfig = field(FilesConfig, "validation text (name=files), which is logged beside data.valid")
    test: FilesConfig = field(FilesConfig, "test text (name=files)")
    datasets: list[str] = field(list, "as data.datasets (name=mtdata)")
    corpus: str | None = field(None, "as data.corpus (name=opus)")
    version: str | None = field(None, "as data.version (name=opus)")
    dataset: str | None = field(None, "as data.dataset (name=huggingface)")
    subset: str | None = field(None, "as data.subset (name=huggingface)")
    splits: SplitsConfig = field(SplitsConfig, "as data.splits (name=huggingface)")
    columns: ColumnsConfig = field(ColumnsConfig, "as data.columns (name=huggingface)")
    clean: Clean | None = field(None, "filters of the training text; null: data.clean")
    train_pairs: int | None = field(
        None, "use only the first N training pairs; null: all", unit="pairs", at_least=1, at_most=MAX_COUNT
    )
    weight: float | None = field(None, WEIGHT, at_least=1e-6, at_most=1e6)
    tag: str | None = field(None, TAG, effect=Effect.fixed)


@dataclass
class DataConfig:
    """Sentence pairs, their direction and their tokenization."""

    name: DataName = field(
        DataName.tatoeba, "corpus: tatoeba, grammar (synthetic), multi30k, files, mtdata, wmt, opus or huggingface"
    )
    src: str = field(MISSING, "source language code")
    tgt: str = field(MISSING, "target language code")
    root: str | None = field(None, "folder of the corpus files; null: download them", unit="path")
    cache_dir: str | None = field(
        None,
        "folder of downloads and prepared data; null: data/ in a checkout, else the user's cache folder",
        unit="path",
        effect=Effect.process,
    )
    train: FilesConfig = field(FilesConfig, "training text (data=files)")
    valid: FilesConfig = field(FilesConfig, "validation text (data=files); if not given, held out of train")
    test: FilesConfig = field(FilesConfig, "test text (data=files); if not given, held out of train")
    datasets: list[str] = field(
        list,
        "data=mtdata: names of corpora, whose union is the training text; python -m seq2seq.data search lists them",
    )
    valid_datasets: list[str] = field(
        list,
        "names of test sets of sacreBLEU (wmt13) or of corpora as in datasets, whose union is the validation text, "
        "whatever the corpus",
    )
    test_datasets: list[str] = field(
        list, "the same for test sets, each scored under its name; no test set is held out of the training text"
    )
    corpus: str | None = field(None, "data=opus: name of the corpus, for example Tatoeba")
    version: str | None = field(
        None, "data=opus: version of the corpus, for example v2023-04-12; null or latest: the newest in the index"
    )
    dataset: str | None = field(
        None, "data=huggingface: name at the Hub (OWNER/NAME), or a folder of Parquet or JSON Lines"
    )
    subset: str | None = field(None, "data=huggingface: subset (configuration) of the dataset; null: the default")
    splits: SplitsConfig = field(SplitsConfig, "data=huggingface: splits")
    columns: ColumnsConfig = field(ColumnsConfig, "data=huggingface: columns")
    clean: Clean = field(
        Clean.harmless,
        "filters of the training text, which `python -m seq2seq.data clean --list` lists: harmless (pairs with a blank "
        "side, an unpaired surrogate or NUL are dropped), light (also damaged text, copies, duplicates, the wrong "
        "script), strict (also the wrong language and sides that hardly translate each other), none (blank sides only)",
    )
    train_pairs: int | None = field(
        None,
        "use only the first N training pairs; null: all (grammar: 100,000)",
        unit="pairs",
        at_least=1,
        at_most=MAX_COUNT,
    )
    valid_pairs: int = field(
        2000,
        "pairs held out for validation if the corpus has no validation set",
        unit="pairs",
        at_least=1,
        at_most=MAX_COUNT,
    )
    test_pairs: int = field(
        2000, "pairs held out for test if the corpus has no test set", unit="pairs", at_least=1, at_most=MAX_COUNT
    )
    max_length: int = field(
        100,
        "maximum length of either side of a training pair, EOS included; longer pairs are dropped and counted",
        unit="tokens",
        at_least=1,
        at_most=100_000,
    )
    overfit_pairs: int | None = field(
        None,
        "debugging: train, validate and test on the first N training pairs, which the network should memorise; "
        "null: off",
        unit="pairs",
        at_least=1,
        at_most=MAX_COUNT,
    )
    fold: str | None = field(
        None,
        "cross-validation, K/N: divide all pairs except the test sets into N parts, validate on part K, train "
        "on the rest",
        effect=Effect.fixed,
    )
    weight: float | None = field(None, WEIGHT, at_least=1e-6, at_most=1e6)
    tag: str | None = field(None, TAG, effect=Effect.fixed)
    mix: dict[str, Any] = field(dict, "further corpora by name, mixed with this one", entries=MixConfig)
    mix_temperature: float = field(
        1.0,
        "T: shares of an epoch are in proportion to weight^(1/T), or pairs^(1/T) without weights (Arivazhagan et al. "
        "2019); above 1 small corpora are seen more often",
        at_least=0.1,
        at_most=1000,
    )
    tokenizer: TokenizerConfig = field(TokenizerConfig, "subword segmentation", effect=Effect.fixed)
    sampling: SamplingConfig = field(SamplingConfig, "subword sampling, BPE-dropout")
    augment: AugmentConfig = field(
        AugmentConfig, "edits of the training pairs, new in every epoch", effect=Effect.fixed
    )
    robustness: list[RobustnessName] = field(
        list,
        "variants of every test set that the test at the end also scores: upper and title (capitals, scored ignoring "
        "case), nopunct (no final punctuation), typos (in the source)",
        effect=Effect.process,
    )
    bleu_tokenizer: str | None = field(
        None,
        f"sacreBLEU's tokenizer of validation and test: {', '.join(BLEU_TOKENIZERS)}; null: that of the language tgt",
        effect=Effect.fixed,
    )

    def corpora(self) -> dict[str, DataConfig]:
        """Return the settings of each corpus by name, the main one first, as if it were the only one."""
        return {MAIN: dataclasses.replace(self, mix={}), **{name: self._of(entry) for name, entry in self.mix.items()}}

    def _of(self, entry: MixConfig) -> DataConfig:
        own = {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}
        own["root"] = entry.root or (self.root if entry.name is self.name else None)
        own |= {"src": entry.src or self.src, "tgt": entry.tgt or self.tgt, "clean": entry.clean or self.clean}
        none: dict[str, Any] = {
            "mix": {},
            "fold": None,
            "overfit_pairs": None,
            "valid_datasets": [],
            "test_datasets": [],
        }
        return dataclasses.replace(self, **{**none, **own})

    def of_test(self, name: str) -> DataConfig:
        """Return the settings of the corpus of a test set.

        Args:
            name: CORPUS.SET, or SET in the main corpus; a variant of it ends in the name of the variant (SET.typos).
        """
        corpora = self.corpora()
        base, _, variant = name.rpartition(".")
        clean = base if variant in RobustnessName.__members__ else name
        corpus, dot, _ = clean.partition(".")
        return corpora[corpus if dot and corpus in self.mix and clean not in self.test_datasets else MAIN]

    def tags(self) -> dict[str, list[str]]:
        """Return the symbols that choose a target language, by language; an empty list: none is needed."""
        tags: dict[str, list[str]] = {}
        for corpus in self.corpora().values():
            tags.setdefault(corpus.tgt, corpus.tag_symbols)
        return tags

    @property
    def tag_symbols(self) -> list[str]:
        """The symbols of `tag`."""
        return (self.tag or "").split()

    @property
    def vocabulary(self) -> TokenizerConfig:
        """`tokenizer` with the tags among its symbols."""
        tags = [symbol for corpus in self.corpora().values() for symbol in corpus.tag_symbols]
        symbols = [*dict.fromkeys([*self.tokenizer.user_symbols, *tags])]
        return dataclasses.replace(self.tokenizer, user_symbols=symbols)

    @property
    def fold_of(self) -> tuple[int, int] | None:
        """K and N of `fold`; None without cross-validation.

        Raises:
            ConfigError: `fold` is not K/N with 1 ≤ K ≤ N and N ≥ 2.
        """
        if self.fold is None:
            return None
        numbers = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", self.fold)
        part, parts = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
        if parts < 2 or not 1 <= part <= parts:
            raise ConfigError(f"data.fold={self.fold}: write K/N with 1 ≤ K ≤ N and N ≥ 2, for example data.fold=1/5")
        return part, parts
