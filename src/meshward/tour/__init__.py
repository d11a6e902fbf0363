"""The demo's promises, tried one by one against the running instance."""
