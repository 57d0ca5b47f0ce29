"""One adapter per model family behind one protocol. Knows no command line and no budget."""
