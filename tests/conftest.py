"""What all tests share: a slow machine is no reason to fail."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("adtrie", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("adtrie")
