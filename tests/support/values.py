"""Values of the model for tests, with only what a test is about."""

from shared.model.refs import Head


def head(attempt: int = 1, *, uid: str = "u", generation: int = 1) -> Head:
    """An attempt of a placement that has not changed."""
    return Head(uid=uid, generation=generation, attempt=attempt)
