"""From files on disk to numpy batches: numpy only, apart from loader.py (grain)."""
