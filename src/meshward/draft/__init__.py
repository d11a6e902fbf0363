"""A first policy from two URLs: an issuer's and a model server's."""
