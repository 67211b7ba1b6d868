"""Patient encoders: from cells and their owners to one vector a patient."""
