"""One input on its way through a model: sizing before the watch, the watch itself, answers from forks."""
