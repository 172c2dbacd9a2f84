"""What each toolchain and dialect takes and how it spells it: data and its reader."""
