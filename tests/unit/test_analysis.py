"""What an analysis finds, against cases worked out by hand, and what it must not find."""

import math
import re
import time
import tracemalloc
from typing import Any

import pytest

from seq2seq.errors import DataError
from seq2seq.evaluation.analysis import Variant, analyse, ngram_differences
from seq2seq.evaluation.analysis.faults.unrelated import hallucinated
from seq2seq.evaluation.analysis.sentence_bleu import corpus_bleu, sentence_bleu
from seq2seq.evaluation.analysis.texts import Lines, Texts
from seq2seq.evaluation.analysis.words import tokens, word_counts, words
from seq2seq.evaluation.metrics import bleu, sentence_scores

SOURCES = ["He sleeps in the house.", "We saw the red car.", "They had no money left.", "Paris is a town in France."]
REFERENCES = ["Il dort dans la maison.", "Nous avons vu la voiture rouge.", "Ils n'avaient plus d'argent.",
              "Paris est une ville de France."]  # fmt: skip


def faults(source: str, reference: str, output: str, **options: Any) -> dict[str, str]:
    """Return the faults of one line, among others that are right, with what was found."""
    found = analyse([*SOURCES, source], [*REFERENCES, reference], {"A": [*REFERENCES, output]}, **options)
    line = len(SOURCES) + 1
    for fault, by_system in found.faults.items():
        assert by_system["A"] in ([], [line]), fault
    lists = {list_.title.removeprefix("Fault: "): list_.rows for list_ in found.examples}
    return {fault: lists[fault][0].details.get("A", "") for fault, by in found.faults.items() if by["A"]}


FAULTS: dict[str, tuple[str, str, str, dict[str, str]]] = {
    "empty": ("Go home.", "Rentre à la maison.", " ", {"empty": ""}),
    "copied": ("We like cheese very much.", "Nous adorons le fromage.", "we like cheese very much", {"copied": ""}),
    "copied word": ("Congratulations!", "Félicitations !", "Congratulations !", {"copied": ""}),
    "untranslated": (
        "The cheese was mouldy.", "Le fromage était moisi.", "Le fromage était mouldy.", {"untranslated": "mouldy"},
    ),
    "repeated word": ("I like it.", "Je l'aime bien.", "Je l'aime aime bien.", {"repeated": "aime × 2"}),
    "repeated words": (
        "It was the pilot.", "C'était la faute du pilote.", "C'était de l'avion de l'avion de l'avion.",
        {"repeated": "de l'avion × 3"},
    ),
    "repeated later": (
        "A man in a hat sees a dog.", "Un homme coiffé voit un chien.",
        "Un homme avec un chapeau voit un homme avec un chapeau.", {"repeated": "un homme avec un"},
    ),
    "truncated": (
        "Oh, no! My old house is on fire!", "Oh, non ! Ma maison est en feu !", "Oh !",
        {"truncated": "2 words, 9 in the reference"},
    ),
    "cut off": (
        "He walked along the river for two long hours.", "Il a marché le long de la rivière pendant deux heures.",
        "Il a marché le long de la", {"truncated": "7 words, 11 in the reference"},
    ),
    "too long": (
        "He is tired.", "Il est fatigué.", "Il est fatigué parce que la route était longue et froide.",
        {"too long": "11 words, 3 in the reference"},
    ),
    "number": ("It was in 1954.", "C'était en 1954.", "C'était en 1930.", {"numbers": "lost: 1954; new: 1930"}),
    "large number": (
        "It costs 12,500 euros.", "Cela coûte 12 500 euros.", "Cela coûte 12 euros.",
        {"numbers": "lost: 12500; new: 12"},
    ),
    "address": (
        "See https://a.example/x.", "Voir https://a.example/x.", "Voir https://a.exemple/x.",
        {"addresses": "lost: https://a.example/x; new: https://a.exemple/x"},
    ),
    "mail": (
        "Write to me@a.example now.", "Écris à me@a.example.", "Écris à moi.", {"addresses": "lost: me@a.example"},
    ),
    "placeholder": (
        "Hello {name}, you have %d mails.", "Bonjour {name}, vous avez %d messages.",
        "Bonjour {nom}, vous avez %d messages.", {"placeholders": "lost: {name}; new: {nom}"},
    ),
    "tag": ("A <b>big</b> dog.", "Un <b>grand</b> chien.", "Un <b>grand chien.", {"placeholders": "lost: </b>"}),
    "script": ("I love you.", "Je t'aime.", "Je t'люблю.", {"wrong script": "Cyrillic"}),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_found(case: str) -> None:
    source, reference, output, expected = FAULTS[case]
    assert faults(source, reference, output) == expected


RIGHT = {
    "name": ("We met Zimmermann there.", "Nous l'y avons rencontré.", "Nous y avons rencontré Zimmermann."),
    "word of both languages": ("The town is nice.", "Le village est joli.", "La France est belle."),
    "inflected": ("It is an adorable thing.", "Ce sont des choses adorables.", "C'est une chose adorable."),
    "number as a word": ("I have 2 cats.", "J'ai 2 chats.", "J'ai deux chats."),
    "number only in the source": ("It is 5 o'clock.", "Il est cinq heures.", "Il est cinq heures."),
    "number in other digits": ("I paid ٣٠ euros.", "J'ai payé 30 euros.", "J'ai payé 30 euros."),
    "time": ("At 10:30 he left.", "À 10 h 30 il partit.", "Il est parti à 10:30."),
    "grouped number": ("It has 1,250,000 people.", "Il y a 1 250 000 gens.", "Il y a 1.250.000 gens."),
    "repeated in the source": ("No, no, no, never!", "Jamais de la vie !", "Non, non, non, jamais !"),
    "paraphrase": ("You can't know that for sure.", "Vous ne pouvez pas en être certains.", "Tu n'en sais rien."),
    "quoted script": ("He said «こんにちは» twice.", "Il a dit «konnichiwa».", "Il a dit «こんにちは»."),
    "address with punctuation": ("(See www.a.example.)", "(Voir www.a.example).", "Voir www.a.example!"),
    "same": ("OK", "OK", "OK"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_is_no_fault(case: str) -> None:
    assert faults(*RIGHT[case]) == {}


def test_a_repetition_that_the_references_have_is_usual() -> None:
    sources, references = ["We see each other.", "We wash."], ["Nous nous voyons.", "On se lave."]
    assert analyse(sources, references, {"A": [references[0], "Nous nous lavons."]}).faults["repeated"]["A"] == []


def test_german_nouns_are_no_names() -> None:
    sources = ["Ein Hund schläft im Haus.", "Der Mann sieht den Vogel.", "Eine Katze jagt die Maus."]
    references = ["A dog sleeps in the house.", "The man sees the bird.", "A cat chases the mouse."]
    outputs = [references[0], "The man sees the Vogel.", references[2]]
    assert analyse(sources, references, {"A": outputs}).faults["untranslated"]["A"] == [2]
    sources[1], references[1], outputs[1] = "Er wohnt in München.", "He lives in Munich.", "He lives in München."
    assert analyse(sources, references, {"A": outputs}).faults["untranslated"]["A"] == []


CHINESE = ["他在家里睡觉。", "我们看见了那辆红色的汽车。", "他们没有钱了。"]


def test_text_without_spaces() -> None:
    sources = [*SOURCES[:3], "The students discuss their plans for the trip to the mountains."]
    references = [*CHINESE, "学生们讨论他们去山里旅行的计划。"]

    def found(output: str) -> list[str]:
        analysis = analyse(sources, references, {"A": [*CHINESE, output]})
        return [fault for fault, by in analysis.faults.items() if by["A"]]

    assert found("学生们讨论讨论他们去山里旅行的计划。") == []
    assert found("学生们讨论计划计划计划计划。") == ["repeated"]
    assert found("学生们。") == ["truncated"]
    assert found("学生们讨论他们 mountains 去山里的计划。") == ["untranslated", "wrong script"]
    assert analyse(sources, references, {"A": references}).sections[0].rows[0][1] == pytest.approx(100)


def test_hebrew_thai_and_hindi_words() -> None:
    assert tokens("שלום, עולם!") == ["שלום", ",", "עולם", "!"]
    assert words("हिन्दी में।") == ["हिन्दी", "में"]
    assert words("ไทย") == ["ไ", "ท", "ย"]
    assert analyse(["a b"], ["שלום עולם"], {"A": ["שלום עולם"]}).faults["wrong script"]["A"] == []


VOWEL_SIGNS = {
    "Hindi": (["वह घर में सोता है।", "मुझे पुरानी किताबें बहुत पसंद हैं।"], "किताबें"),
    "Tamil": (["அவன் வீட்டில் தூங்குகிறான்.", "எனக்கு பழைய புத்தகங்கள் பிடிக்கும்."], "புத்தகங்கள்"),
    "Bengali": (["সে বাড়িতে ঘুমায়।", "আমি পুরানো বইগুলো ভালোবাসি।"], "বইগুলো"),
    "Hebrew": (["הוּא יָשֵׁן בַּבַּיִת.", "אֲנִי אוֹהֵב סְפָרִים יְשָׁנִים."], "סְפָרִים"),
    "Arabic": (["هُوَ يَنامُ في البَيْتِ.", "أُحِبُّ الكُتُبَ القَديمَةَ."], "الكُتُبَ"),
    "Persian": (["او در خانه می‌خوابد.", "من کتاب‌های قدیمی را دوست دارم."], "کتاب‌های"),
}


@pytest.mark.parametrize("script", VOWEL_SIGNS)
def test_vowel_signs_belong_to_a_word(script: str) -> None:
    """Faults of words are found in both directions: in the script, and if its words are left."""
    lines, word = VOWEL_SIGNS[script]
    english = ["He sleeps in the house.", "I like old books."]

    def found(sources: list[str], references: list[str], output: str, training: str = "") -> list[str]:
        words = word_counts([*references, training] * 20) if training else None
        analysis = analyse(sources, references, {"A": [references[0], output]}, training_words=words)
        return [fault for fault, by in analysis.faults.items() if by["A"]]

    assert found(lines, english, lines[1])[0] == "copied"
    assert found(lines, english, f"I like old {word}.")[0] == "untranslated"
    assert found(english, lines, lines[1].replace(word, f"{word} {word}")) == ["repeated"]
    assert found(english, lines, lines[1].replace(word, f"{word[1:]}{word}"), lines[1]) == ["invented"]
    assert found(english, lines, lines[1], lines[1]) == []


def test_words_without_punctuation() -> None:
    assert tokens("Don't, l'homme (1,000.5)!") == ["Don't", ",", "l'", "homme", "(", "1,000.5", ")", "!"]
    assert word_counts(["The cat, the CAT.", "cat"]) == {"the": 2, "cat": 3}


def test_an_invented_word_is_in_no_text() -> None:
    training = word_counts([*REFERENCES * 20, "la jauge est cassée"])
    case = ("The fuel gauge is broken.", "La jauge est cassée.", "La foncture est cassée.")
    assert faults(*case, training_words=training) == {"invented": "foncture"}
    assert faults(*case) == {}
    assert faults(*case, training_words=word_counts(REFERENCES[:1])) == {}, "too small to judge by"
    assert faults(*case[:2], "La jauge de Foncture est cassée.", training_words=training) == {}, "a name"


def test_an_output_of_several_sources_is_no_translation_of_them() -> None:
    sources = ["Where is the station?", "My brother plays chess.", "Bread costs four crowns.", "He sleeps."]
    references = ["Où est la gare ?", "Mon frère joue aux échecs.", "Le pain coûte quatre couronnes.", "Il dort."]
    outputs = [*["Je ne sais pas quoi vous dire."] * 3, "Il dort."]
    assert analyse(sources, references, {"A": outputs}).faults["hallucinated"]["A"] == [1, 2, 3]


@pytest.mark.timeout(20)
def test_a_model_that_collapsed_is_analysed_in_linear_time() -> None:
    """Each of the sources is compared with a sample of the others: all pairs of them are 16 million."""
    count = 4000
    sources = Lines([f"{number:05}{'abcd'[number % 4]} yes" for number in range(count)])
    output = Lines(["Je ne sais pas quoi vous dire."] * count)
    found = hallucinated(Texts(sources, Lines(["Bonjour."] * count), {"A": output}), output, [0.0] * count, None)
    assert len(found) == count
    assert all(re.fullmatch("the output of at least [0-9]+ different sources", what) for what in found.values())


def test_equal_sources_of_an_output_are_one() -> None:
    sources = Lines([*["Where is the station?"] * 3, "My brother plays chess."])
    output = Lines(["Je ne sais pas quoi vous dire."] * 4)
    texts = Texts(sources, Lines(["x"] * 4), {"A": output})
    assert hallucinated(texts, output, [0.0] * 4, None) == {}


def test_an_output_that_does_not_need_its_source_is_no_translation() -> None:
    case = ("He lit the candle.", "Il alluma la chandelle.", "Je suis en train de partir.")
    needed, not_needed = [3.0] * len(SOURCES), [3.0] * len(SOURCES)
    assert faults(*case, source_dependence={"A": [*needed, 2.5]}) == {}
    found = faults(*case, source_dependence={"A": [*not_needed, 0.2]})
    assert found == {"hallucinated": "nearly as probable for another source"}
    assert faults(*case, source_dependence={"A": [*needed, math.nan]}) == {}


def section(title: str, **options: Any) -> list[list[Any]]:
    (found,) = (section for section in analyse(**options).sections if section.title == title)
    return [list(row) for row in found.rows]


def test_scores_by_source_length() -> None:
    sources, references = ["a", "b c d e f g", "h"], ["x", "u v w x y z", "q"]
    rows = section("Source length", sources=sources, references=references, systems={"A": ["x", "u v w x y z", "k"]})
    assert rows == [["1 to 5", 2, 50.0, pytest.approx(0.0)], ["6 to 10", 1, 100.0, pytest.approx(100)]]


def test_word_accuracy_by_frequency() -> None:
    """The cat: 'the' has the count 100, 'cat' 1, 'dog' 0; the output has 'the' once too often and no 'cat'."""
    rows = section(
        "Word frequency in training",
        sources=["s"],
        references=["The cat"],
        systems={"A": ["the the dog"]},
        training_words={"the": 100, "cat": 1},
    )
    assert rows == [
        ["0", 0, 0.0, None, 0.0],
        ["1", 1, None, 0.0, 0.0],
        ["100 to 999", 1, 50.0, 100.0, pytest.approx(200 / 3)],
    ]


def test_lengths_and_histogram() -> None:
    texts: dict[str, Any] = {"sources": ["a"] * 3, "references": ["x y"] * 3, "systems": {"A": ["x y", "x y z", ""]}}
    assert [row[:2] for row in section("Length difference", **texts)] == [["−4 to −2", 1], ["0", 1], ["+1", 1]]
    assert sum(row[1] for row in section("Sentence chrF", **texts)) == 3
    assert section("Sentence chrF", **texts)[-1] == ["90 to 100", 1]


def test_a_blank_line_that_is_right_has_the_highest_score() -> None:
    texts: dict[str, Any] = {"sources": ["a", " "], "references": ["u v x y", ""], "systems": {"A": ["u v x y", " "]}}
    assert section("Scores", **texts)[0][1:3] == [pytest.approx(100), 100]
    for metric in ("chrF", "BLEU"):
        assert section(f"Sentence {metric}", **texts)[-1] == ["90 to 100", 2]


def test_entropy_is_in_quarters_of_what_is_known() -> None:
    rows = section(
        "Attention entropy: A",
        sources=["a b"] * 9,
        references=["x y"] * 9,
        systems={"A": ["x y"] * 9},
        attention_entropy={"A": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, math.nan]},
    )
    assert [row[:2] for row in rows] == [
        ["0.100 to 0.300", 2], ["0.300 to 0.500", 2], ["0.500 to 0.700", 2], ["0.700 to 0.800", 2],
    ]  # fmt: skip


def test_ngrams_that_one_system_gets_right() -> None:
    sources, references = ["a"] * 4, ["the red house"] * 4
    systems = {"A": ["the red house"] * 4, "B": ["the red car"] * 4}
    rows = section("n-grams that A gets right, B does not", sources=sources, references=references, systems=systems)
    assert rows == [["house", 1, 4, 0], ["red house", 2, 4, 0], ["the red house", 3, 4, 0]]
    titles = [section.title for section in analyse(sources, references, systems).sections]
    assert "n-grams that B gets right, A does not" not in titles
    rows = section(
        "n-grams that B writes more often than the references", sources=sources, references=references, systems=systems
    )
    assert rows == [["car", 1, 4, 0], ["red car", 2, 4, 0]]


def test_the_ngrams_of_all_lines_are_not_in_memory_at_once() -> None:
    count = 150
    systems = {name: Lines([f"{name}{line} " * 30 + f"{name} " * line for line in range(count)]) for name in "AB"}
    texts = Texts(systems["A"], Lines([" ".join(map(str, range(40)))] * count), systems)
    assert all(len(text.tokens) == count for text in (*systems.values(), texts.references))
    tracemalloc.start()
    try:
        assert list(ngram_differences.between_systems(texts, 5)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1e6, "each order of the references takes more than that"


def test_robustness_compares_what_ignores_case_with_the_clean_set_ignoring_case() -> None:
    variants = [
        Variant("upper", ["UN GRAND CHAT NOIR DORT"], {"A": ["un grand CHAT NOIR DORT"]}, ignore_case=True),
        Variant("typos", ["Un grand chat noir dort"], {"A": ["rien"]}),
    ]
    rows = section(
        "Robustness",
        sources=["a big black cat"],
        references=["Un grand chat noir dort"],
        systems={"A": ["un grand chat noir dort"]},
        variants=variants,
    )
    assert [row[0] for row in rows] == ["clean", "upper (case ignored)", "typos"]
    clean = bleu(["un grand chat noir dort"], ["Un grand chat noir dort"])
    assert [row[1] for row in rows] == pytest.approx([clean, 100, 0])
    assert [row[2] for row in rows] == pytest.approx([0, 0, clean])


def test_examples_have_the_extremes_of_all_sentences() -> None:
    outputs = [REFERENCES[0], "Nous avons vu quelqu'un.", "xyz", REFERENCES[3]]
    other = ["xyz", "Nous avons vu quelqu'un.", REFERENCES[2], REFERENCES[3]]
    analysis = analyse(SOURCES, REFERENCES, {"A": outputs, "B": other}, examples=1)
    lists = {list_.title: list_.rows for list_ in analysis.examples}
    assert lists["Best sentences"][0].line == 4
    assert lists["A better than B"][0].line == 1
    assert lists["B better than A"][0].line == 3
    row = lists["B better than A"][0]
    assert (row.src, row.ref, row.outputs) == (SOURCES[2], REFERENCES[2], {"B": REFERENCES[2], "A": "xyz"})
    assert row.scores["A"] == sentence_scores(["xyz"], [REFERENCES[2]])[0]


def test_sentence_bleu_adds_up_to_corpus_bleu() -> None:
    outputs = ["Il dort à la maison.", "", "Ils n'avaient pas plus d'argent que nous.", "Paris"]
    assert corpus_bleu(sentence_bleu(outputs, REFERENCES, "13a")) == pytest.approx(bleu(outputs, REFERENCES))


def test_the_plain_form_has_the_keys_that_a_report_reads() -> None:
    plain = analyse(SOURCES, REFERENCES, {"A": ["xyz", *REFERENCES[1:]]}).to_dict()
    assert plain.keys() == {"sections", "examples", "faults"}
    for section in plain["sections"]:
        assert section.keys() == {"title", "note", "columns", "rows"}
        assert all(len(row) == len(section["columns"]) for row in section["rows"])
    for list_ in plain["examples"]:
        for row in list_["rows"]:
            assert row.keys() == {"line", "src", "ref", "outputs", "scores", "details"}
            assert row["outputs"].keys() == row["scores"].keys()


LINES = {"empty": "", "blank": " ", "dots": "…", "escape": "\x1b[31m", "digits": "١٢٣", "tag": "<", "at": "a@" * 3000,
         "word": "a" * 9999, "mail": "a" * 30_000 + "@", "underscores": "_" * 3000, "number": "1." * 3000}  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_any_line_is_analysed_quickly(line: str) -> None:
    started = time.process_time()
    for source, reference, output in ([line, "x", "x"], ["x", line, "x"], ["x", "x", line], [line] * 3):
        found = analyse([source], [reference], {"A": [output]}, training_words={"x": 1})
        blank = not output.strip() and bool(source.strip() and reference.strip())
        assert found.faults["empty"]["A"] == [1] * blank
        for list_ in found.examples:
            for row in list_.rows:
                assert (row.line, row.src, row.ref, row.outputs) == (1, source, reference, {"A": output})
    assert time.process_time() - started < 10  # a pattern that tries every split of a line takes minutes


def test_lines_must_be_parallel() -> None:
    with pytest.raises(DataError, match="2 sources but 1 lines of A: give one of each per sentence"):
        analyse(["a", "b"], ["a", "b"], {"A": ["a"]})
    with pytest.raises(DataError, match="there are no sentences"):
        analyse([], [], {"A": []})
    with pytest.raises(DataError, match="there are no translations"):
        analyse(["a"], ["a"], {})
