"""From a work directory to one HTML page that a clinician reads."""
