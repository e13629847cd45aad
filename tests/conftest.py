"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine makes examples slow; that is no counterexample. pytest's own timeout bounds every test.
settings.register_profile("moorage", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("moorage"), max_examples=1_000)  # for `make test-long`
settings.load_profile("moorage")
