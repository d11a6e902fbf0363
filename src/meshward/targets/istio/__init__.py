"""Istio: what a model's own sidecar enforces of a plan, as the mesh's resources."""
