"""The verbs of the API on objects: reading, writing, applying and deleting, and what follows from a change."""
