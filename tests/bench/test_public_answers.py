"""What each dataset's official rule takes from an answer, pinned to what its authors' code gives."""

import pytest

from omnimem_cli.bench.public.library import DATASETS

OPTIONS = ("Red car", "blue boat", "green sea", "The dog")
NAMES = ("videomme", "lvbench", "lvomnibench", "worldsense", "video-holmes", "omnivideobench", "jointavbench")
PINNED = (
    ("A", "A A A A A A A"),
    ("b", "- - B - - B B"),
    (" C\n", "C C C C C C C"),
    ("D.", "D D D D D D D"),
    ("(B)", "B B B B B B B"),
    ("[C]", "C - C C C C C"),
    ("B)", "B B B B B B B"),
    ("C:", "C C C C C C C"),
    ("A.", "A A A A A A A"),
    ("D. because", "D D D D D D D"),
    ("B. blue boat", "B B B B B B B"),
    ("C. Green sea", "C C C C C C C"),
    ("(D) The dog", "D D D D D - D"),
    ("A, B", "A A A A A - -"),
    ("A or C", "A A A A A - -"),
    ("AB", "A A A A A - -"),
    ("D because it barks", "D D D D D - -"),
    ("A man walks in", "A A A A A - -"),
    ("Because of that", "B B B B B - -"),
    ("The answer is C.", "C - C C C - C"),
    ("The answer is (B)", "B B B B B - -"),
    ("the answer is d", "- - D - - - D"),
    ("Answer: C", "C A C C A - C"),
    ("Answer: (D)", "D D D D A - -"),
    ("answer is B because", "B - B B B - -"),
    ("The best answer is: D", "D - D D D - D"),
    ("The best option is C", "C - C C C - -"),
    ("Best answer: C", "B B C B B - C"),
    ("The correct answer is A.", "A - A A A - A"),
    ("Option B", "B - B B B - B"),
    ("I select C", "C - C C C - C"),
    ("(C) is correct", "C C C C C - C"),
    ("B is the answer", "B B B B B - B"),
    ("red car", "- - E - - - A"),
    ("The dog", "- - E - - - D"),
    ("It is the green sea.", "- - E - - - C"),
    ("E", "- - E - E - -"),
    ("F. none of these", "- - F - F - -"),
    ("", "- - - - - - -"),
    ("   ", "- - - - - - -"),
    ("hm", "- - - - - - -"),
    ("1", "- - - - - - -"),
    ("I do not know", "- - D - - - -"),
    ("<think>A or B</think><answer>C</answer>", "A - A A C - -"),
    ("<answer>B: boat</answer>", "B - B B B - -"),
    ("\\boxed{D}", "D - D D D D -"),
    ("/box{B}", "B - B B B B B"),
    ("assistant C", "C - C C C C -"),
    ("Between A and D, D", "B B A B A - -"),
    ("C) (A)", "C C C C A - -"),
    ("It must be B. The answer is B, not A", "B - B B A - B"),
    ("**B**", "B - B B B B B"),
    ("Answer:", "- A A - A - A"),
    ("Answer: None", "- A A - A - -"),
    ("Best answer:Best option: C", "C B B C B - B"),
    ("The correct option is D.", "D - D D D - -"),
    ("Option: B", "B - B B B - -"),
    ("answer - (C)", "C C C C C - -"),
    ("I select c, not option B", "B - B B B - -"),
    ("'A' is the answer", "A - A A A - A"),
)
"""What a model wrote, and one letter per name above; "-": none, which is wrong."""


@pytest.mark.parametrize("place, name", list(enumerate(NAMES)))
def test_answers_are_read_as_the_authors_code_reads_them(place, name):
    assert len(PINNED) == 60
    wanted = {text: letters.split()[place].replace("-", "") for text, letters in PINNED}
    assert {text: DATASETS[name].extract(text, OPTIONS) or "" for text in wanted} == wanted


def test_a_letter_beyond_the_options_makes_an_answer_to_jointavbench_name_two():
    assert DATASETS["jointavbench"].extract("Option D, the blue boat", OPTIONS[:3]) is None
    assert DATASETS["jointavbench"].extract("The blue boat", OPTIONS[:3]) == "B"
