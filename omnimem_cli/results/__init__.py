"""The result object of one input: its parts, its schema, its codes, and the formats that it is written in."""
