"""sacreBLEU's tokenizer for a target language: BLEU counts n-grams of words, which not every script separates."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seq2seq.config.bleu import BLEU_TOKENIZERS
from seq2seq.data.text.writing import is_chinese_or_japanese, lacks_spaces
from seq2seq.errors import ConfigError, first_line

if TYPE_CHECKING:
    from seq2seq.config.data import DataConfig

log = logging.getLogger(__name__)

DEFAULT = "13a"
FALLBACK = "char"
DOWNLOADED = ("flores101", "flores200", "spBLEU-1K")
LANGUAGES = {
    "zh": "zh zho chi cmn lzh",
    "ja-mecab": "ja jpn",
    "ko-mecab": "ko kor",
    # Thai, Lao, Khmer, Burmese, Shan, Mon, S'gaw Karen, Tibetan, Dzongkha, Ladakhi, Tai languages, Sinitic languages.
    "char": "th tha tts nod sou lo lao km khm my mya bur shn mnw ksw bo bod tib dz dzo lbj khb tdd blt "
    "yue wuu nan hak gan hsn cdo cjy cpx czh czo mnp",
}
SCRIPTS = {
    "zh": "hans hant hani",
    "ja-mecab": "jpan hira kana hrkt",
    "ko-mecab": "kore hang",
    "char": "thai laoo khmr mymr tibt tale talu lana tavt java bali bopo",
}
_OF_LANGUAGE = {code: name for name, codes in LANGUAGES.items() for code in codes.split()}
_OF_SCRIPT = {code: name for name, codes in SCRIPTS.items() for code in codes.split()}


def bleu_tokenizer(data: DataConfig, chosen: str | None = None, option: str = "data.bleu_tokenizer") -> str:
    """Return the tokenizer that `chosen`, else `data.bleu_tokenizer`, else the target language names.

    If the package of a language's tokenizer is not installed, a warning is logged and `char` is returned: BLEU of
    characters needs no package, stays the monitored metric and says `tok:char` in its signature.

    Args:
        data: of the model.
        chosen: replaces `data.bleu_tokenizer`.
        option: where `chosen` comes from, for messages.

    Raises:
        ConfigError: the named tokenizer cannot be used here.
    """
    named = chosen or data.bleu_tokenizer
    if named:
        check_tokenizer(named, option)
        return named
    return language_tokenizer(data.tgt, f"data.tgt={data.tgt}")


def language_tokenizer(code: str, setting: str) -> str:
    """Return the tokenizer of a language, `char` with a warning if its package is not installed.

    Args:
        code: of the language.
        setting: where it comes from, for the message.
    """
    name = of_language(code)
    if _problem(name):
        log.warning(
            "%s: the BLEU tokenizer %s is not installed, so BLEU is computed over characters (char); "
            "install it with pip install '%s'", setting, name, _package(name)
        )  # fmt: skip
        return FALLBACK
    return name


def of_language(code: str) -> str:
    """Return the tokenizer of a language: `zh`, `zh-Hans`, `zh_CN` and `cmn` are Chinese.

    A script subtag decides for languages that are not in `LANGUAGES`, and against those that are: zh-Latn is pinyin.
    """
    language, *subtags = re.split(r"[-_.@]", code.strip().lower())
    name = _OF_LANGUAGE.get(language, DEFAULT)
    script = next((tag for tag in subtags if re.fullmatch("[a-z]{4}", tag)), None)
    if script is None:
        return name
    of_script = _OF_SCRIPT.get(script, DEFAULT)
    return of_script if DEFAULT in (name, of_script) else name


def check_tokenizer(name: str, option: str) -> None:
    """Check that a tokenizer can be used.

    Raises:
        ConfigError: unknown, or its package is not installed; names `option`.
    """
    if name not in BLEU_TOKENIZERS:
        raise ConfigError(f"{option}={name} is unknown: use {', '.join(BLEU_TOKENIZERS)}")
    if problem := _problem(name):
        remedy = f"pip install '{_package(name)}'"
        if name in DOWNLOADED:
            remedy = "run this once where there is a network and copy the folder ~/.sacrebleu/models"
        raise ConfigError(f"{option}={name} cannot be used ({problem}): {remedy}, or choose {FALLBACK}")


def warn_if_meaningless(name: str, references: Sequence[str], option: str) -> None:
    """Log a warning if the tokenizer separates words at spaces and the references have none, or are Korean."""
    if name not in ("13a", "intl", "none") and not name.startswith("moses"):
        return
    if lacks_spaces(references):
        chinese_or_japanese = is_chinese_or_japanese(references)
        log.warning(
            "BLEU with tokenizer %s is close to 0 for any output in a script without spaces between words: "
            "set %s to %s", name, option, "zh, ja-mecab or char" if chinese_or_japanese else "char",
        )  # fmt: skip
    elif _is_korean(references):
        log.warning("BLEU of Korean is computed with ko-mecab by others, not %s: set %s to ko-mecab", name, option)


def _is_korean(lines: Sequence[str]) -> bool:
    text = "".join(lines[:100])
    return 2 * sum("\uac00" <= character <= "\ud7a3" for character in text) > len(text)


def _package(name: str) -> str:
    return f"sacrebleu[{name[:2]}]" if name.endswith("mecab") else "sacrebleu"


def _problem(name: str) -> str:
    """Return why sacreBLEU cannot tokenise with `name`; empty if it can."""
    if "mecab" not in name and name not in DOWNLOADED:
        return ""
    from sacrebleu import BLEU

    try:
        BLEU(tokenize=name)
    except (Exception, SystemExit) as error:  # a missing package or dictionary, a failed download, no secure connection
        return first_line(error)
    return ""
