"""A Kubernetes cluster: what is there is read, and what is rendered for a mesh is made so.

All that touches an API server is here, through the official client (the extra `kubernetes`). `order` says in which
steps one state of a mesh becomes another one, and is pure.
"""
