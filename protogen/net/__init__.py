"""A net in memory: built, named, upgraded, compared, counted."""
