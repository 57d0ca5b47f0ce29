"""Public benchmarks: each dataset's own files, prompt and rule for answers; one watch per video; scores."""
