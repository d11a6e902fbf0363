"""A policy as files for other machines: what each hop of a site's paths enforces, proven and written down."""
