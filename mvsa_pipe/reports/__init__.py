"""Records of runs and analyses as tables, plots and one HTML page."""
