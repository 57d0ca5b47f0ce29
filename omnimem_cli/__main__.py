"""``python -m omnimem_cli``."""

from omnimem_cli.app import main

if __name__ == "__main__":
    main()
