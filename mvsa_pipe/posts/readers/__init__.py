"""One file per data set format; a row of ``posts.formats.FORMATS`` refers to its reader."""
