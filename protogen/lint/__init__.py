"""The linter of ``protogen check``: rules for nets, one class per rule."""
