"""Budgets as users write them, and as layers get them."""

import pytest

from omnimem_cli.base.budget import Budget, parse_budget
from omnimem_cli.base.errors import UsageError
from omnimem_cli.memory.budget import (
    even_budgets,
    fit_plan,
    share_out,
)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("8k", Budget(entries=8192)),
        ("8192", Budget(entries=8192)),
        ("1.5K", Budget(entries=1536)),
        ("2GiB", Budget(bytes=2 * 2**30)),
        ("512 MB", Budget(bytes=512 * 10**6)),
        ("auto", Budget(auto=True)),
    ],
)
def test_a_budget_is_entries_bytes_or_auto(text, budget):
    assert parse_budget(text) == budget == parse_budget(str(budget))


@pytest.mark.parametrize("text", ["", "0", "-3", "8kk", "lots", "2TiB", "0.2"])
def test_what_is_no_budget_names_the_accepted_forms(text):
    with pytest.raises(UsageError) as error:
        parse_budget(text)
    assert "8k" in error.value.hint


def test_an_absent_stream_gives_its_whole_share_to_the_other():
    assert even_budgets(2, 60, 5.0, True, True)[0].visual == 50
    assert even_budgets(2, 60, 5.0, True, False)[0].visual == 60
    assert even_budgets(2, 60, 5.0, False, True)[0].audio == 60


def test_shares_sum_exactly_and_keep_the_floor():
    for total in (7, 100, 8191):
        counts = share_out([0.0, 3.0, 1.0, 1.0, 0.5], total)
        assert sum(counts) == total and min(counts) >= 1


def test_a_plan_keeps_its_proportions_at_any_budget():
    plan = [(10, 30), (20, 20), (5, 115)]
    fitted = fit_plan(plan, 200, True, True)
    assert sum(b.total for b in fitted) == 600
    assert [b.total for b in fitted] == [120, 120, 360]
    assert fitted[0].visual == 90 and fitted[1].visual == 60
    assert all(b.audio == 0 for b in fit_plan(plan, 200, True, False))
