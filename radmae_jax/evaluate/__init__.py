"""From a checkpoint to what people look at."""
