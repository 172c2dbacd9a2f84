"""``protogen view``: the report of a net in the browser, drawn again whenever a file is saved."""
