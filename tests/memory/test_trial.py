"""Trying which of several ways takes less time."""

import time

import torch

from omnimem_cli.memory.trial import TRIES, least_seconds


def test_the_way_that_takes_less_is_told_from_the_others():
    slow, fast = least_seconds(lambda: time.sleep(0.02), lambda: None)
    assert slow > 10 * fast


def test_trying_takes_one_thread_and_leaves_their_number():
    threads, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        least_seconds(lambda: threads.append(torch.get_num_threads()))
        assert (threads, torch.get_num_threads()) == ([1] * TRIES, 2)
    finally:
        torch.set_num_threads(before)
