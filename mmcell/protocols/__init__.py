"""How one kind of question is put to an embedding: one file a kind."""
