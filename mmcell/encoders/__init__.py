"""What turns data into embeddings."""
