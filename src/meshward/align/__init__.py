"""What runs, read for what it means: who reaches which model through which object, beside what the policy says."""
