"""Where files of a data set are read: a folder, a zip archive, or several of these."""
