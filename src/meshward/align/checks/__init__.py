"""One question each, asked of what runs: each yields findings and knows no other."""
