"""Patient stratification: stable groups of held-out patients, what became of them, and what they differ in."""
