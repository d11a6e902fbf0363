"""Signing in as a person from a terminal, and keeping the login fresh (OpenID Connect, RFC 8628, RFC 8252)."""
