"""Small models fitted on top of frozen embeddings: arrays in, arrays out."""
