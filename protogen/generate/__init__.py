"""Generate layers and write them into nets."""
