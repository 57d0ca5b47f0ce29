"""A result as one HTML page: what was watched, what was kept, and what was found, with its times."""
