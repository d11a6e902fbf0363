"""Fakes and harnesses to test one's own policy with: docs/testing-your-policy.md shows how.

Nothing here is used by an instance at work. No pytest is needed.
"""
