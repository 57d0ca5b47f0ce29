"""Sets of questions in YAML: the file's format, where presets are found, and schemas of answers."""
