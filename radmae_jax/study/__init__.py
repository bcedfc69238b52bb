"""From one question (does pre-training help, with how many labels?) to many runs, one table and its curves."""
