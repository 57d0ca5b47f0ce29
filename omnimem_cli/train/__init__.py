"""Training of nano, the built-in model: `python -m omnimem_cli.train.nano`."""
