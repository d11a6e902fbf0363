"""What identity costs: `python -m bench` measures it on this machine and writes bench/RESULTS.md."""
