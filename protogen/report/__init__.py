"""Plots, drawings and report pages. Other packages compute the data that is shown."""
