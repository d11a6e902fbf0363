"""A reader of Istio's security semantics, from Istio's and Envoy's sources and documents; it knows no emitter."""
