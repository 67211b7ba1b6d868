"""Statistics over units. They know tables, not runs."""
