"""``protogen check``: rules over nets, one class each."""
