"""What runs cost, before and while they run."""
