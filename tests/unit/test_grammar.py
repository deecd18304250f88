"""The synthetic corpus is correct German, a function of its English, reproducible, and more than word-by-word."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import chain
from typing import Any

import numpy as np
import pytest
import sacrebleu

from scaling import scaled
from seq2seq.data.corpora.grammar import english, generate, german, lemma_count, lexicon
from seq2seq.data.corpora.grammar.trees import (
    Clause,
    Gap,
    Infinitive,
    NounPhrase,
    PrepositionalPhrase,
    Sentence,
    Subordinate,
    Tense,
)

Pairs = list[tuple[str, str]]
PAIRS = 20_000


def in_subprocess(call: str, hash_seed: int = 0) -> Any:
    """Evaluate a call in another process, without the run-time type checks that slow it down tenfold here."""
    code = f"import json; from seq2seq.data.corpora.grammar import generate, splits; print(json.dumps({call}))"
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    result = json.loads(
        subprocess.run([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, check=True).stdout
    )
    return [tuple(pair) for pair in result] if isinstance(result, list) else result


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return in_subprocess(f"generate({PAIRS}, seed=1)")


@pytest.fixture(scope="module")
def other_pairs() -> Pairs:
    return in_subprocess(f"generate({PAIRS}, seed=2)")


# --- the corpus ------------------------------------------------------------------------------------------------------


def test_the_seed_decides_every_pair(pairs: Pairs, other_pairs: Pairs) -> None:
    assert generate(500, seed=1) == pairs[:500]
    assert pairs != other_pairs


def test_the_pairs_do_not_depend_on_hash_randomization() -> None:
    assert (
        in_subprocess("generate(300, 5)", hash_seed=1)
        == in_subprocess("generate(300, 5)", hash_seed=2)
        == generate(300, 5)
    )


def test_no_sentence_occurs_twice(pairs: Pairs) -> None:
    sources, targets = zip(*pairs, strict=True)
    assert len(set(sources)) == len(set(targets)) == len(pairs) == PAIRS


def test_splits_share_no_sentence_and_valid_and_test_do_not_depend_on_the_size_of_train() -> None:
    train = scaled(5_000, 20_000)
    parts = in_subprocess(f"splits(train={train}, valid=700, test=800, seed=3)")
    assert {name: len(part) for name, part in parts.items()} == {"train": train, "valid": 700, "test": 800}
    for side in (0, 1):
        assert len({pair[side] for part in parts.values() for pair in part}) == train + 1_500
    smaller = in_subprocess("splits(train=100, valid=700, test=800, seed=3)")
    assert smaller["test"] == parts["test"]
    assert smaller["valid"] == parts["valid"]


def test_count_must_not_be_negative() -> None:
    assert generate(0, seed=1) == []
    with pytest.raises(ValueError, match="-1"):
        generate(-1, seed=1)


def test_an_english_sentence_has_one_translation(pairs: Pairs, other_pairs: Pairs) -> None:
    first, second = dict(pairs), dict(other_pairs)
    common = first.keys() & second.keys()
    assert len(common) > 20, "too few to say anything"
    assert all(first[source] == second[source] for source in common)


def test_no_past_reads_like_a_present(pairs: Pairs) -> None:
    # "They read" would have two translations, so these verbs are never used in the past.
    assert {verb.en for verb in lexicon().verbs.values() if verb.en == verb.en_past} == {"read", "cut", "put on"}
    reading = [target for source, target in pairs if re.search(r"\bread\b", source)]
    assert len(reading) > 20
    assert [target for target in reading if "gelesen" in target] == []


def test_lengths_are_3_to_40_words_and_mostly_5_to_15(pairs: Pairs) -> None:
    lengths = Counter(len(source.split()) for source, _ in pairs)
    assert (min(lengths), max(lengths)) == (3, 40)
    assert sum(lengths[n] for n in range(5, 16)) > 0.6 * PAIRS


def test_over_300_lemmas_are_in_use(pairs: Pairs) -> None:
    assert lemma_count() > 300
    words = lexicon()
    text = " ".join(re.sub("[.,?]", " ", source.lower()) for source, _ in pairs)
    used = set(text.split())
    assert [noun.en for noun in words.nouns.values() if not {noun.en, noun.en_plural} & used] == []
    assert [adjective.lower() for adjective in words.adjectives if adjective.lower() not in used] == []
    phrases = chain(words.adverbs, words.times, words.prepositions, words.conjunctions, words.modals)
    assert [phrase for phrase in phrases if f" {phrase.lower()} " not in text] == []
    for verb in words.verbs.values():
        assert any(f" {form} " in text for form in (verb.en, verb.en_third, verb.en_past)), verb.en


def test_a_million_sentences_of_one_shape_alone() -> None:
    """Count the sentences like "The tall man sees the old dog": described subjects × described objects of each verb."""
    words = lexicon()

    def described(tags: frozenset[str]) -> int:
        nouns = [noun for noun in words.nouns.values() if noun.tags & tags]
        return sum(bool(adjective.tags & noun.tags) for noun in nouns for adjective in words.adjectives.values())

    transitive = [verb for verb in words.verbs.values() if verb.object_case is not None and not verb.receiver]
    assert sum(described(verb.subjects) * described(verb.objects) for verb in transitive) > 1_000_000


def test_two_samples_overlap_as_little_as_samples_of_a_million_sentences(pairs: Pairs, other_pairs: Pairs) -> None:
    # Two samples of n out of N equally likely sentences share n * n / N of them; if unequally likely, more.
    common = {source for source, _ in pairs} & {source for source, _ in other_pairs}
    assert PAIRS * PAIRS / len(common) > 1_000_000


# --- a word-by-word translation --------------------------------------------------------------------------------------


def tokens(text: str) -> list[str]:
    return re.findall(r"[\w']+|[.,?]", text)


def learn_lookup(pairs: Pairs, iterations: int = 6) -> dict[str, str]:
    """Return the likeliest German word of every English word: IBM model 1 by expectation maximization."""
    links: dict[tuple[str, str], int] = {}
    link_ids, slot_ids, slots = [], [], 0
    for source, target in pairs:
        words = ["", *tokens(source)]  # "" generates German words that translate no English word
        for german_word in tokens(target):
            link_ids += [links.setdefault((word, german_word), len(links)) for word in words]
            slot_ids += [slots] * len(words)
            slots += 1
    link, slot = np.array(link_ids), np.array(slot_ids)
    numbers: dict[str, int] = {}
    source_of = np.array([numbers.setdefault(word, len(numbers)) for word, _ in links])
    weights = np.ones(len(links))
    for _ in range(iterations):
        expected = np.bincount(link, weights[link] / np.bincount(slot, weights[link])[slot])
        weights = expected / np.bincount(source_of, expected)[source_of]
    best: dict[str, tuple[float, str]] = {}
    for (word, german_word), weight in zip(links, weights.tolist(), strict=True):
        best[word] = max(best.get(word, (0.0, "")), (weight, german_word))
    return {word: german_word for word, (_, german_word) in best.items()}


def test_a_learned_word_by_word_translation_scores_below_40_bleu(pairs: Pairs) -> None:
    lookup, test = learn_lookup(pairs[:4000]), pairs[4000:4500]
    assert (lookup["grandmother"], lookup["winter"], lookup["three"]) == ("Großmutter", "Winter", "drei"), "it learned"
    out = [" ".join(lookup.get(word, word) for word in tokens(source)) for source, _ in test]
    references = [" ".join(tokens(target)) for _, target in test]
    # In lower case: the lookup cannot know which word starts the sentence.
    score = sacrebleu.corpus_bleu(out, [references], tokenize="none", lowercase=True, force=True).score
    assert 5 < score < 40


# --- agreement and word order in generated text, checked with independent tables -------------------------------------

# Nouns whose form here is singular only or plural only. Plurals under p change in the dative, so "den" is an error.
GENDERS = {
    "m": "Mann Hund Apfel Brief Hut Zug Baum Tisch Garten Wald Bahnhof Fluss Traum Freund Vogel Stuhl",
    "f": "Frau Katze Suppe Zeitung Tasche Lampe Jacke Gitarre Blume Bank Küche Stadt Schule Brücke Straße Frage Tür",
    "n": "Kind Pferd Brot Buch Glas Bild Hemd Auto Schiff Klavier Sofa Haus Dorf Hotel Schloss Dach Lied Wasser",
    "p": "Männer Hunde Äpfel Briefe Hüte Züge Bäume Tische Vögel Bücher Häuser Dörfer Kinder Lieder Pferde Schuhe",
}
# Determiner (or its ending) and the ending of an adjective after it. No genitive: most of these nouns change in it.
DER = {"m": "der:e den:en dem:en", "f": "die:e der:en", "n": "das:e dem:en", "p": "die:en der:en"}
DIESER = {"m": "er:e en:en em:en", "f": "e:e er:en", "n": "es:e em:en", "p": "e:en er:en"}
EIN = {"m": ":er en:en em:en", "f": "e:e er:en", "n": ":es em:en", "p": "e:en er:en"}
GENDER_OF = {noun: gender for gender, nouns in GENDERS.items() for noun in nouns.split()}
PHRASE = re.compile(
    r"(?<!, )\b(?:(d(?:er|ie|as|en|em))|(dies|jed)(e[rsnm]?)|(?:k?ein|mein|dein|sein|unser)(e[rsnm]?)?)"
    r"((?: [a-zäöüß]+e[rsnm]?){0,2}) ([A-ZÄÖÜ]\w+)\b"
)


def violation(match: re.Match[str]) -> str | None:
    """Return the phrase if its determiner and adjectives do not agree with its noun."""
    article, dieser, dieser_ending, ein_ending, adjectives, noun = match.groups()
    endings = (DER if article else DIESER if dieser else EIN)[GENDER_OF[noun]]
    shown = article or dieser_ending or ein_ending or ""
    allowed = tuple(rule.split(":")[1] for rule in endings.split() if rule.split(":")[0] == shown)
    agrees = bool(allowed) and all(adjective.endswith(allowed) for adjective in adjectives.split())
    return None if agrees else match.group()


def test_determiners_and_adjectives_agree_with_the_gender_of_their_noun(pairs: Pairs) -> None:
    matches = [match for _, target in pairs for match in PHRASE.finditer(target) if match.group(6) in GENDER_OF]
    # At the start of a relative clause ("über die kleine Kinder sprechen") "die" is no article.
    matches = [match for match in matches if not re.search(r", \w+ $", match.string[: match.start()])]
    assert len(matches) > 5000
    assert [phrase for match in matches if (phrase := violation(match))] == []


@pytest.mark.parametrize("wrong", ["die Mann", "der alten Hund", "ein altes Tisch", "das großes Haus", "den Kinder"])
def test_the_agreement_check_finds_errors(wrong: str) -> None:
    match = PHRASE.search(f"Heute {wrong}")
    assert match is not None
    assert violation(match) is not None


CONJUNCTIONS = "dass|ob|weil|obwohl|wenn|als|während|bevor|bis"


def finite_forms(joined: bool) -> set[str]:
    """Return all finite verb forms, with their prefixes if `joined` (subordinate clauses), else without."""
    words = lexicon()
    forms = {form for modal in words.modals.values() for form in (*modal.present, *(modal.preterite or ()))}
    for verb in words.verbs.values():
        forms.update((verb.prefix if joined else "") + form for form in (*verb.present, *(verb.preterite or ())))
    return forms


def test_the_finite_verb_stands_last_after_a_conjunction(pairs: Pairs) -> None:
    forms, checked = finite_forms(joined=True), 0
    for _, target in pairs:
        # The last part of a sentence is a whole clause; a relative clause may split an earlier one.
        match = re.search(rf", (?:{CONJUNCTIONS}) ([^,]*)[.?]$", target)
        for clause in match[1].split(" und ") if match else ():
            assert clause.split()[-1] in forms, target
            checked += 1
    assert checked > 2000


def test_the_finite_verb_stands_second_in_main_clauses(pairs: Pairs) -> None:
    forms, relative = finite_forms(joined=False), re.compile("der|die|das|den|dem|denen|um|an|auf|über|von|vor")
    times = "Heute|Heute Abend|Heute Morgen|Jetzt|Gestern|Jeden Tag|In der Nacht|Am (?:Morgen|Abend|Montag|Sonntag)"
    clauses = "|".join(word.capitalize() for word in CONJUNCTIONS.split("|"))
    front = re.compile(rf"(?:(?:{times}|Leider|Vielleicht|Zum Glück)|(?:{clauses}) [^,]*,) ([a-zäöüß]+)\b")
    starts = [match for _, target in pairs if (match := front.match(target)) and not relative.fullmatch(match[1])]
    assert len(starts) > 2000
    assert [match.string for match in starts if match[1] not in forms] == []


@pytest.mark.parametrize(
    ("finite", "prefix"),
    [
        ("rufe|rufst|ruft|rufen", "an"),
        ("räume|räumst|räumt|räumen", "auf"),
        ("lade|lädst|lädt|laden", "ein"),
        ("hole|holst|holt|holen", "ab"),
        ("nehme|nimmst|nimmt|nehmen", "teil"),
        ("werfe|wirfst|wirft|werfen", "weg"),
        ("kehre|kehrst|kehrt|kehren", "zurück"),
    ],
)
def test_separable_prefixes_close_main_clauses_and_join_the_verb_in_subprocess(
    pairs: Pairs, finite: str, prefix: str
) -> None:
    # These verbs occur with their prefix only: if it does not precede the verb, it must close the clause.
    bare = [target for _, target in pairs if re.search(rf"\b({finite})\b", target)]
    assert [target for target in bare if not re.search(rf"\b({finite})\b.* {prefix}(?=[,.?]| und )", target)] == []
    joined = [target for _, target in pairs if re.search(rf"\b{prefix}({finite})\b", target)]
    assert len(bare) > 20
    assert len(joined) > 20


# --- sentences built by hand -----------------------------------------------------------------------------------------

WORDS = lexicon()
VERB, PRO, ADVERB, TIME = WORDS.verbs, WORDS.pronouns, WORDS.adverbs, WORDS.times
THE, PAST = WORDS.determiners["the"], Tense.PAST


def a_noun(noun: str, *adjectives: str, det: str = "the", plural: bool = False) -> NounPhrase:
    chosen = tuple(WORDS.adjectives[adjective] for adjective in adjectives)
    return NounPhrase(WORDS.nouns[noun], WORDS.determiners[det], plural, chosen)


def with_relative(noun: str, clause: Clause, plural: bool = False) -> NounPhrase:
    return NounPhrase(WORDS.nouns[noun], THE, plural, relative=clause)


def at(preposition: str, phrase: NounPhrase) -> PrepositionalPhrase:
    return PrepositionalPhrase(WORDS.prepositions[preposition], phrase)


def sub(conjunction: str, *clauses: Clause) -> Subordinate:
    return Subordinate(WORDS.conjunctions[conjunction], clauses)


MAN, WOMAN, CHILD = a_noun("man"), a_noun("woman"), a_noun("child")

HAND_MADE = {
    "The old man sees the small dogs in the garden because the woman calls me.|"
    "Der alte Mann sieht die kleinen Hunde im Garten, weil die Frau mich anruft.": Clause(
        a_noun("man", "old"),
        VERB["see"],
        object=a_noun("dog", "small", plural=True),
        place=at("in", a_noun("garden")),
        ending=sub("because", Clause(WOMAN, VERB["call"], object=PRO["I"])),
    ),
    "Today the woman calls the boy.|Heute ruft die Frau den Jungen an.": Clause(
        WOMAN, VERB["call"], object=a_noun("boy"), front=TIME["today"]
    ),
    "You gave every child a fresh apple.|Du hast jedem Kind einen frischen Apfel gegeben.": Clause(
        PRO["you"], VERB["give"], PAST, receiver=a_noun("child", det="every"), object=a_noun("apple", "fresh", det="a")
    ),
    "On Monday, they went into the old city.|Am Montag sind sie in die alte Stadt gegangen.": Clause(
        PRO["they"], VERB["go"], PAST, place=at("into", a_noun("city", "old")), front=TIME["on Monday"]
    ),
    "The man does not have a new car.|Der Mann hat kein neues Auto.": Clause(
        MAN, VERB["have"], negated=True, object=a_noun("car", "new", det="a")
    ),
    "The man does not help my neighbors.|Der Mann hilft meinen Nachbarn nicht.": Clause(
        MAN, VERB["help"], negated=True, object=a_noun("neighbor", det="my", plural=True)
    ),
    "The dog that the man looks for sleeps under a big table.|"
    "Der Hund, den der Mann sucht, schläft unter einem großen Tisch.": Clause(
        with_relative("dog", Clause(MAN, VERB["look for"], object=Gap(WORDS.nouns["dog"]))),
        VERB["sleep"],
        place=at("under", a_noun("table", "big", det="a")),
    ),
    "The woman had to repair the bicycle that belongs to the child.|"
    "Die Frau musste das Fahrrad reparieren, das dem Kind gehört.": Clause(
        WOMAN,
        VERB["repair"],
        PAST,
        WORDS.modals["have"],
        object=with_relative("bicycle", Clause(Gap(WORDS.nouns["bicycle"]), VERB["belong to"], object=CHILD)),
    ),
    "The women who like the idea laugh.|Die Frauen, denen die Idee gefällt, lachen.": Clause(
        with_relative("woman", Clause(Gap(WORDS.nouns["woman"], True), VERB["like"], object=a_noun("idea")), True),
        VERB["laugh"],
    ),
    "He knows that the rich king's horse ran away yesterday.|"
    "Er weiß, dass das Pferd des reichen Königs gestern weggelaufen ist.": Clause(
        PRO["he"],
        VERB["know#that"],
        ending=sub(
            "that",
            Clause(
                NounPhrase(WORDS.nouns["horse"], THE, owner=a_noun("king", "rich")),
                VERB["run away"],
                PAST,
                time=TIME["yesterday"],
            ),
        ),
    ),
    "When she sleeps, tired students drink cold coffee.|"
    "Wenn sie schläft, trinken müde Studenten kalten Kaffee.": Clause(
        a_noun("student", "tired", det="", plural=True),
        VERB["drink"],
        object=a_noun("coffee", "cold", det=""),
        front=sub("when", Clause(PRO["she"], VERB["sleep"])),
    ),
    "When he sang and the woman danced, we laughed.|"
    "Als er gesungen hat und die Frau getanzt hat, haben wir gelacht.": Clause(
        PRO["we"],
        VERB["laugh"],
        PAST,
        front=sub("when", Clause(PRO["he"], VERB["sing"], PAST), Clause(WOMAN, VERB["dance"], PAST)),
    ),
    "We tried to look after their cats.|Wir haben versucht, auf ihre Katzen aufzupassen.": Clause(
        PRO["we"],
        VERB["try"],
        PAST,
        ending=Infinitive(Clause(PRO["we"], VERB["look after"], object=a_noun("cat", det="their", plural=True))),
    ),
    "I return to the school in order to rest.|Ich kehre zur Schule zurück, um mich auszuruhen.": Clause(
        PRO["I"],
        VERB["return"],
        place=at("to", a_noun("school")),
        ending=Infinitive(Clause(PRO["I"], VERB["rest"]), purpose=True),
    ),
    "Unfortunately, an honest nurse often remembers her long German letters.|"
    "Leider erinnert sich eine ehrliche Krankenschwester oft an ihre langen deutschen Briefe.": Clause(
        a_noun("nurse", "honest", det="a"),
        VERB["remember"],
        frequency=ADVERB["often"],
        object=a_noun("letter", "long", "German", det="her", plural=True),
        front=ADVERB["unfortunately"],
    ),
    "This child wants to read your new red book quietly tonight.|"
    "Dieses Kind will heute Abend dein neues rotes Buch leise lesen.": Clause(
        a_noun("child", det="this"),
        VERB["read"],
        modal=WORDS.modals["want"],
        object=a_noun("book", "new", "red", det="your"),
        manner=ADVERB["quietly"],
        time=TIME["tonight"],
    ),
    "The big house was not expensive.|Das große Haus war nicht teuer.": Clause(
        a_noun("house", "big"), VERB["be"], PAST, negated=True, predicate=WORDS.adjectives["expensive"]
    ),
}


@pytest.mark.parametrize("expected", HAND_MADE)
def test_sentences_built_by_hand(expected: str) -> None:
    tree = Sentence(HAND_MADE[expected])
    assert f"{english.sentence(tree)}|{german.sentence(tree)}" == expected


def test_questions_and_joined_main_clauses() -> None:
    question = Sentence(Clause(WOMAN, VERB["listen to"], PAST, object=PRO["he"]), question=True)
    assert english.sentence(question) == "Did the woman listen to him?"
    assert german.sentence(question) == "Hat die Frau ihm zugehört?"
    first = Clause(MAN, VERB["come back"], ending=sub("because", Clause(CHILD, VERB["cry"])))
    both = Sentence(first, joint="and", second=Clause(PRO["she"], VERB["open"], object=a_noun("door")))
    assert english.sentence(both) == "The man comes back because the child cries, and she opens the door."
    assert german.sentence(both) == "Der Mann kommt zurück, weil das Kind weint, und sie öffnet die Tür."


@pytest.mark.parametrize(
    ("determiner", "nominative", "accusative", "dative", "genitive"),
    [
        ("the", "Der alte Freund", "den alten Freund", "dem alten Freund", "des alten Freundes"),
        ("a", "Ein alter Freund", "einen alten Freund", "einem alten Freund", "eines alten Freundes"),
        ("my", "Mein alter Freund", "meinen alten Freund", "meinem alten Freund", "meines alten Freundes"),
        ("this", "Dieser alte Freund", "diesen alten Freund", "diesem alten Freund", "dieses alten Freundes"),
    ],
)
def test_the_four_cases(determiner: str, nominative: str, accusative: str, dative: str, genitive: str) -> None:
    friend = a_noun("friend", "old", det=determiner)
    house = NounPhrase(WORDS.nouns["house"], THE, owner=friend)
    expected = {
        f"{nominative} schläft.": Clause(friend, VERB["sleep"]),
        f"Ich liebe {accusative}.": Clause(PRO["I"], VERB["love"], object=friend),
        f"Ich helfe {dative}.": Clause(PRO["I"], VERB["help"], object=friend),
        f"Das Haus {genitive} ist alt.": Clause(house, VERB["be"], predicate=WORDS.adjectives["old"]),
    }
    assert [german.sentence(Sentence(clause)) for clause in expected.values()] == list(expected)
