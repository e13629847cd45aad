"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# A busy machine makes examples slow; that is no counterexample. pytest's own timeout bounds every test.
settings.register_profile("moorage", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("moorage")
