"""What a query finds, and which sentence and words of it are shown."""

import random
from pathlib import Path

import pytest
from searching import hits, marked, search, transcript, write

from omnimem_cli.base.errors import UsageError
from omnimem_cli.results.search import index
from omnimem_cli.results.search.folding import clean, fold, origins
from omnimem_cli.results.search.hits import make_hit
from omnimem_cli.results.search.query import MOST_TERMS, parse_query


@pytest.mark.parametrize(
    ("query", "starts"),
    [
        ("budget 2027", [0]),
        ("2027 BUDGET", [0]),
        ("budget", [0, 30]),
        ('"budget"', [0]),
        ('"budget for 2027"', [0]),
        ("“budget for 2027”", [0]),
        ("“2027 budget”", []),
        ('"2027 budget"', []),
        ('"budget for 20"', []),
        ("budget tomorrow", []),
        ("udget", []),
        ("cafe lodz", [30]),
        ("CAFÉ", [30]),
        ("cafe\u0301", [30]),
        ("2027", [0, 60]),
        ("20", []),
        ("予算は", [60]),
        ("予算", [60]),
        ("億", [60]),
        ("予算 2027", [60]),
        ("２０２７年の予算", [60]),
        ("かぎ", []),
        ("งบ", [90]),
        ("ประมาณ", [90]),
        ("서울", [90]),
        ("울에", [90]),
        ("?", [0]),
        ("; budget", [30]),
    ],
)
def test_a_query_finds_the_passages_with_all_its_words(root: Path, query: str, starts: list[float]):
    assert sorted(hit.start_s for hit in hits(root, query) if hit.part == "segment") == starts


def test_a_hit_shows_the_sentence_with_its_words_marked_and_its_place(root: Path):
    (hit,) = hits(root, "budget 2027")
    assert hit.text == "The budget for 2027 is ten million." and marked(hit) == ["budget", "2027"]
    assert (hit.part, hit.start_s, hit.end_s, hit.source) == ("segment", 0.0, 30.0, "talks/lecture.mp4")
    assert hit.file == str(root / "meeting.transcript.json")


def test_marks_fall_on_the_characters_as_they_are_written(root: Path):
    assert marked(hits(root, "budget small")[0]) == ["Budgets", "smaller"]
    assert marked(hits(root, "lodz cafe")[0]) == ["café", "Łódź"]
    (hit,) = hits(root, "予算 2027")
    assert hit.text == "2027年の予算は十億円です。" and marked(hit) == ["2027", "予算"]


def test_a_word_is_not_marked_inside_another_one(tmp_path: Path):
    write(tmp_path / "lib" / "a.json", transcript((0.0, 1.0, "Explain the plain e-mail, not mail")))
    assert marked(hits(tmp_path / "lib", "plain")[0]) == ["plain"]
    assert marked(hits(tmp_path / "lib", "e-mail")[0]) == ["e-mail"]


def test_a_fold_that_changes_the_length_keeps_the_marks_in_place(tmp_path: Path):
    write(tmp_path / "lib" / "a.json", transcript((0.0, 1.0, "Ǆ œuvre, Straße ﬁnal 東京")))
    assert marked(hits(tmp_path / "lib", "strasse")[0]) == ["Straße"]
    assert marked(hits(tmp_path / "lib", "final oeuvre")[0]) == ["œuvre", "ﬁnal"]


def test_whole_words_come_before_longer_ones_and_equal_matches_by_file_and_time(tmp_path: Path):
    root = tmp_path / "lib"
    write(
        root / "b.json",
        transcript((9.0, 10.0, "one plan two"), (0.0, 1.0, "one plan two"), (2.0, 3.0, "one plane two")),
    )
    write(root / "a.json", transcript((5.0, 6.0, "one plan two")))
    found = [(Path(hit.file).name, hit.start_s) for hit in hits(root, "plan")]
    assert found == [("a.json", 5.0), ("b.json", 0.0), ("b.json", 9.0), ("b.json", 2.0)]


def test_a_limit_keeps_the_best_and_says_how_many_there_are(tmp_path: Path):
    write(tmp_path / "lib" / "a.json", transcript(*((float(n), n + 1.0, "same words") for n in range(30))))
    found = search(tmp_path / "lib", "same", limit=7)
    assert [match.passage.start_s for match in found.matches] == list(range(7)) and found.total == 30


@pytest.mark.parametrize("query", ["", "  ", '""', '" "', '"', "\u0301"])
def test_a_query_without_anything_to_find_is_a_usage_error(query: str):
    with pytest.raises(UsageError):
        parse_query(query)


def test_no_text_is_a_syntax_error(root: Path):
    """Random strings of what means something to FTS5, SQL, patterns and Unicode."""
    pieces = [*"\"'*^:(){}[]+-~%_\\/;,.?!#&|<>= \t\n\0a1é予ก가\u0301\u200d\ufeff\U0001f600\uff02\ufb01İ"]
    pieces += [
        " AND ",
        " OR ",
        " NOT ",
        "NEAR(",
        "text:",
        "budget",
        "予算",
        "--",
        '""',
        "\udcff",
        "\U00100000",
        "\u2028",
    ]
    rng = random.Random(7)
    database = index._connect(None)
    index._create_tables(database)
    index._update(database, str(root), lambda count: None)
    for _ in range(3000):
        query = "".join(rng.choice(pieces) for _ in range(rng.randint(1, 12)))
        try:
            terms = parse_query(query)
        except UsageError:
            continue
        list(index._query(database, terms, 5))


def test_whatever_is_written_is_found_by_its_own_words_and_the_marks_are_in_range(tmp_path: Path):
    rng = random.Random(3)
    pieces = [*"aZéßøİ1 _-.!。予かガ゙กำ가ﬁ²½\u0301\u200dनि", "wörd", "日本", ". "]
    said = [clean("".join(rng.choice(pieces) for _ in range(rng.randint(1, 25)))) for _ in range(150)]
    said = [text for text in dict.fromkeys(said) if text]
    root = tmp_path / "lib"
    write(root / "a.json", transcript(*((float(n), n + 1.0, text) for n, text in enumerate(said))))
    database = index._connect(None)
    index._create_tables(database)
    index._update(database, str(root), lambda count: None)
    for number, text in enumerate(said):
        for query in (text, text.upper(), f'"{text}"', text.split()[-1]):
            terms = parse_query(query)
            rows = {row[3]: row for row in index._query(database, terms, None)}
            assert number in rows, query
            _, source, part, start_s, end_s, found, *_ = rows[number]
            hit = make_hit(index.Match("a.json", source, index.Passage(part, found, start_s, end_s), 0.0), terms)
            assert hit.matches and all(0 <= begin < end <= len(hit.text) for begin, end in hit.matches), query


def test_more_words_than_a_query_may_have_are_refused_and_the_most_are_searched(root: Path):
    assert search(root, " ".join(f"w{n}" for n in range(MOST_TERMS))).total == 0
    assert search(root, f'"{"word " * 3000}"').total == 0
    with pytest.raises(UsageError, match="65 words"):
        parse_query(" ".join(f"w{n}" for n in range(MOST_TERMS + 1)))


def test_folding_a_text_is_folding_its_characters():
    text = clean("Ça été İstanbul ﬁ ½ 가각 ガが ΑΣ")
    assert fold(text) == "".join(map(fold, text)) and len(origins(text)) == len(fold(text))
    assert fold("が") != fold("か") and fold("É") == "e" and fold("ＡＢ") == "ab"
